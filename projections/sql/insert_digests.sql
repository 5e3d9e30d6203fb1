-- Adds to what a version that is being built has applied. As advance_checkpoint takes it.
-- $1 projection text   $2 version integer
-- $3 first positions bigint[]   $4 slices smallint[]   $5 events bigint[]
-- $6 high halves bigint[]   $7 low halves bigint[]
INSERT INTO projection_digests AS kept
    (name, version, first_position, slice, events, digest_high, digest_low)
SELECT $1, $2, d.*
FROM unnest($3::text::bigint[], $4::text::smallint[], $5::text::bigint[],
    $6::text::bigint[], $7::text::bigint[]) AS d
ON CONFLICT (first_position, slice, name, version) DO UPDATE
SET events = kept.events + excluded.events,
    digest_high = kept.digest_high # excluded.digest_high,
    digest_low = kept.digest_low # excluded.digest_low
