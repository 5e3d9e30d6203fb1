-- The events of several subjects, each after a version, oldest first, and their keys.
-- $1 subjects uuid[]   $2 after versions bigint[]
-- The look-up per subject is lateral: a join with the whole table was five times slower.
-- Ordered at the end: a join with the keys that is hashed or merged loses the order.
SELECT e.originator_id, e.originator_version, e.topic, e.state, e.notification_id,
    k.wrapped_key, k.master_key
FROM unnest($1::uuid[], $2::bigint[]) AS wanted (subject, after),
LATERAL (
    SELECT * FROM ledger_events AS s
    WHERE s.originator_id = wanted.subject AND s.originator_version > wanted.after
) AS e
LEFT JOIN LATERAL (
    SELECT * FROM subject_keys AS s WHERE s.subject_id = e.originator_id
) AS k ON true
ORDER BY e.originator_version
