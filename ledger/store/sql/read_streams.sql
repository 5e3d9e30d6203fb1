-- The events of several subjects, each after a version, oldest first, and their keys.
-- $1 subjects uuid[]   $2 after versions bigint[]
-- The look-up per subject is lateral: a join with the whole table was five times slower.
-- LIMIT 1 keeps the look-up of the keys one, too: where nobody has analysed the tables
-- yet it would be a merge of all keys, for each batch. Ordered at the end, since no join
-- promises an order.
SELECT e.originator_id, e.originator_version, e.topic, e.state, e.notification_id,
    k.wrapped_key, k.master_key
FROM unnest($1::uuid[], $2::bigint[]) AS wanted (subject, after),
LATERAL (
    SELECT * FROM ledger_events AS s
    WHERE s.originator_id = wanted.subject AND s.originator_version > wanted.after
) AS e
LEFT JOIN LATERAL (
    SELECT * FROM subject_keys AS s WHERE s.subject_id = e.originator_id LIMIT 1
) AS k ON true
ORDER BY e.originator_version
