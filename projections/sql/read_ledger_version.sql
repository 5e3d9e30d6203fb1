-- The newest version of a stream.
-- $1 stream uuid
SELECT max(originator_version) FROM ledger_events WHERE originator_id = $1
