-- Moves the checkpoints of projections from the position that they were read at, adds to
-- the digests of those that it moves, and wakes who waits for one. Where fewer come back
-- than were named, another worker has moved one: then roll back.
-- $1 names text[]   $2 versions integer[]   $3 from position bigint
-- $4 to position bigint
-- and of each stretch and slice that has events, as text, since arrays cost asyncpg a look
-- at the type of every value:
-- $5 first positions bigint[]   $6 slices smallint[]   $7 events bigint[]
-- $8 high halves bigint[]   $9 low halves bigint[]
WITH advanced AS (
    UPDATE projections AS p
    SET position = $4, seen_at = clock_timestamp(), stopped_reason = NULL
    FROM unnest($1::text[], $2::integer[]) AS moving (name, version)
    WHERE p.name = moving.name AND p.version = moving.version AND p.position = $3
    RETURNING p.name, p.version
), digested AS (
    INSERT INTO projection_digests AS kept
        (name, version, first_position, slice, events, digest_high, digest_low)
    SELECT a.name, a.version, d.*
    FROM advanced AS a
    CROSS JOIN unnest($5::text::bigint[], $6::text::smallint[], $7::text::bigint[],
        $8::text::bigint[], $9::text::bigint[]) AS d
    ON CONFLICT (name, version, first_position, slice) DO UPDATE
    SET events = kept.events + excluded.events,
        digest_high = kept.digest_high # excluded.digest_high,
        digest_low = kept.digest_low # excluded.digest_low
)
SELECT count(*), pg_notify('projections_advanced', '') FROM advanced
