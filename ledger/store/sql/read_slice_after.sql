-- A page of the events of a range of subjects, each subject's in order.
-- $1 after subject uuid   $2 after version bigint   $3 last subject uuid   $4 limit bigint
SELECT originator_id, originator_version, topic, state, notification_id
FROM ledger_events
WHERE (originator_id, originator_version) > ($1, $2) AND originator_id <= $3
ORDER BY originator_id, originator_version
LIMIT $4
