-- The events of several streams, each after a version, oldest first, and of subjects their
-- keys; a subject that is read from its begin, and has a key and no event, is a row of it.
-- $1 streams uuid[]   $2 after versions bigint[]
-- The look-up per stream is lateral: a join with the whole table was five times slower.
-- LIMIT 1 keeps the look-up of the keys one, too: where nobody has analysed the tables
-- yet it would be a merge of all keys, for each batch. Ordered at the end, since no join
-- promises an order.
SELECT wanted.stream, e.originator_version, e.topic, e.state, e.notification_id,
    k.wrapped_key, k.master_key
FROM unnest($1::uuid[], $2::bigint[]) AS wanted (stream, after)
LEFT JOIN LATERAL (
    SELECT * FROM ledger_events AS s
    WHERE s.originator_id = wanted.stream AND s.originator_version > wanted.after
) AS e ON true
LEFT JOIN LATERAL (
    SELECT * FROM subject_keys AS s
    WHERE s.subject_id = wanted.stream
        AND (wanted.after = 0 OR e.originator_version IS NOT NULL)
    LIMIT 1
) AS k ON true
WHERE e.originator_version IS NOT NULL OR k.wrapped_key IS NOT NULL
ORDER BY e.originator_version
