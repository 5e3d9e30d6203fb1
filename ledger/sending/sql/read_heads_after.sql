-- The events after a position, without what is in them.
-- $1 position bigint   $2 limit bigint
SELECT notification_id, originator_id, topic
FROM ledger_events
WHERE notification_id > $1
ORDER BY notification_id
LIMIT $2
