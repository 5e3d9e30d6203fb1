-- Moves the checkpoints of projections from the position that they were read at, and
-- wakes who waits for one. Where fewer come back than were named, another worker has
-- moved one: then roll back.
-- $1 names text[]   $2 versions integer[]   $3 from position bigint
-- $4 to position bigint
WITH advanced AS (
    UPDATE projections AS p
    SET position = $4, seen_at = clock_timestamp(), stopped_reason = NULL
    FROM unnest($1::text[], $2::integer[]) AS moving (name, version)
    WHERE p.name = moving.name AND p.version = moving.version AND p.position = $3
    RETURNING p.position
)
SELECT count(*), pg_notify('projections_advanced', '') FROM advanced
