-- The events of a range of subjects in a range of positions, in order.
-- $1 first subject uuid   $2 last subject uuid
-- $3 first position bigint   $4 last position bigint
SELECT originator_id, originator_version, topic, state, notification_id
FROM ledger_events
WHERE originator_id BETWEEN $1 AND $2 AND notification_id BETWEEN $3 AND $4
ORDER BY notification_id
