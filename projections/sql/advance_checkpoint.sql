-- Moves a checkpoint from the position it was read at, and wakes who waits for it.
-- Nothing comes back where another worker has moved it: then roll back.
-- $1 name text   $2 version integer   $3 from position bigint   $4 to position bigint
WITH advanced AS (
    UPDATE projections
    SET position = $4, seen_at = clock_timestamp(), stopped_reason = NULL
    WHERE name = $1 AND version = $2 AND position = $3
    RETURNING position
)
SELECT position, pg_notify('projections_advanced', '') FROM advanced
