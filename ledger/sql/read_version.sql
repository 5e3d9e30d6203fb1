-- The version of a stream's newest event; null in an empty one.
-- $1 subject uuid
SELECT max(originator_version) FROM ledger_events WHERE originator_id = $1
