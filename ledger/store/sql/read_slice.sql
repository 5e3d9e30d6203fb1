-- The events of a range of subjects, each subject's in order.
-- $1 first subject uuid   $2 last subject uuid
SELECT originator_id, originator_version, topic, state, notification_id
FROM ledger_events
WHERE originator_id BETWEEN $1 AND $2
ORDER BY originator_id, originator_version
