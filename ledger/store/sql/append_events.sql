-- Appends a batch of entries in one transaction; one outcome an entry, in order, or one
-- for all of them where all are appended. A row for each event; what is an entry's as a
-- whole is null in all rows of it but the first. Arrays as text but for those of bytes,
-- since asyncpg looks twice at the type of every value in one.
-- $1 keys uuid[]            $2 streams uuid[]     $3 versions bigint[]  $4 topics text[]
-- $5 occurred timestamptz[] $6 tails bytea[]      $7 subjects uuid[]
-- $8 subject versions bigint[]  $9 data keys bytea[]  $10 new keys boolean[]
-- $11 master key text       $12 day text          $13 day key bytea
-- $14 state head bytea      $15 state middle bytea
-- (migration 0001 describes how the state is joined)
SELECT outcome, event_position, event_recorded_at
FROM append_events_v1(
    $1::text::uuid[], $2::text::uuid[], $3::text::bigint[], $4::text::text[],
    $5::text::timestamptz[], $6, $7::text::uuid[], $8::text::bigint[], $9,
    $10::text::boolean[], $11, $12, $13, $14, $15)
