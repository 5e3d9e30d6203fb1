-- Appends a batch of events in one transaction; one outcome a proposal, in order.
-- $1 keys text[]            $2 subjects uuid[]   $3 versions bigint[]  $4 topics text[]
-- $5 occurred timestamptz[] $6 tails bytea[]     $7 state head bytea
-- $8 state middle bytea     (migration 0001 describes how they are joined)
SELECT outcome, event_position, event_recorded_at
FROM append_events_v1($1, $2, $3, $4, $5, $6, $7, $8)
