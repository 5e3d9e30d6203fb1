-- Says why a projection cannot go on; not where another worker has gone past that.
-- $1 name text   $2 version integer   $3 reason text   $4 before position bigint or null
UPDATE projections SET stopped_reason = $3
WHERE name = $1 AND version = $2 AND ($4::bigint IS NULL OR position < $4)
