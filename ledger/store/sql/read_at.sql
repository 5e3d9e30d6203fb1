-- The events at some positions, in order.
-- $1 positions bigint[]
SELECT originator_id, originator_version, topic, state, notification_id
FROM ledger_events
WHERE notification_id = ANY ($1::bigint[])
ORDER BY notification_id
