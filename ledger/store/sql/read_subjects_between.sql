-- Whose events there are in a range of positions.
-- $1 first position bigint   $2 last position bigint
SELECT DISTINCT originator_id FROM ledger_events
WHERE notification_id BETWEEN $1 AND $2
ORDER BY originator_id
