-- The numbers of which two versions say different things, overall and to each sender: by
-- kind of change, with the first few, and a digest of which they are.
-- $1 examples integer   $2 bigint: only of whom nothing came after this position; or
-- null. Looked up one by one: a join would read all events.
WITH changed AS (
    SELECT coalesce(o.subject_id, n.subject_id) AS subject_id, '' AS sender,
        coalesce(o.status, 'unknown') AS was, coalesce(n.status, 'unknown') AS becomes
    FROM phone_numbers_v0 AS o
    FULL JOIN phone_numbers_v1 AS n ON n.subject_id = o.subject_id
    WHERE o.status IS DISTINCT FROM n.status
    UNION ALL
    SELECT coalesce(o.subject_id, n.subject_id), coalesce(o.sender, n.sender),
        coalesce(o.status, 'unknown'), coalesce(n.status, 'unknown')
    FROM phone_number_senders_v0 AS o
    FULL JOIN phone_number_senders_v1 AS n
        ON n.subject_id = o.subject_id AND n.sender = o.sender
    WHERE o.status IS DISTINCT FROM n.status
),
ranked AS (
    SELECT c.was, c.becomes, c.subject_id,
        hashtextextended(c.subject_id || c.sender, 0) AS hash,
        dense_rank() OVER (PARTITION BY c.was, c.becomes ORDER BY c.subject_id) AS place
    FROM changed AS c
    WHERE $2::bigint IS NULL OR (
        SELECT max(e.notification_id) FROM ledger_events AS e
        WHERE e.originator_id = c.subject_id
    ) <= $2
)
SELECT r.was, r.becomes, max(r.place),
    array_agg(DISTINCT r.subject_id) FILTER (WHERE r.place <= $1::integer),
    sum(r.hash)::text
FROM ranked AS r
GROUP BY r.was, r.becomes ORDER BY r.was, r.becomes
