-- The events of several subjects, each after a version, oldest first.
-- $1 subjects uuid[]   $2 after versions bigint[]
-- The look-up per subject is lateral: a join with the whole table was five times slower.
SELECT e.originator_id, e.originator_version, e.topic, e.state, e.notification_id
FROM unnest($1::uuid[], $2::bigint[]) AS wanted (subject, after),
LATERAL (
    SELECT * FROM ledger_events AS s
    WHERE s.originator_id = wanted.subject AND s.originator_version > wanted.after
    ORDER BY s.originator_version
) AS e
