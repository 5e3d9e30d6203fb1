-- Appends a batch of events in one transaction; one outcome a proposal, in order, or one
-- for all of them where all are appended.
-- $1 keys uuid[]            $2 subjects uuid[]   $3 versions bigint[]  $4 topics text[]
-- $5 occurred timestamptz[] $6 tails bytea[]     $7 data keys bytea[]  $8 master key text
-- $9 day text               $10 day key bytea
-- $11 state head bytea      $12 state middle bytea
-- (migration 0001 describes how the state is joined)
SELECT outcome, event_position, event_recorded_at
FROM append_events_v1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
