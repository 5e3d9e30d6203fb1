-- Says that the worker of a projection runs, though there is nothing to do: whatever it
-- had stopped for is over.
-- $1 name text   $2 version integer
UPDATE projections SET seen_at = clock_timestamp(), stopped_reason = NULL
WHERE name = $1 AND version = $2
