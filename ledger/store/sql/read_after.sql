-- The ledger after a position, in order.
-- $1 after position bigint   $2 limit bigint
SELECT originator_id, originator_version, topic, state, notification_id
FROM ledger_events
WHERE notification_id > $1
ORDER BY notification_id
LIMIT $2
