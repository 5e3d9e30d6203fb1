-- The same of some subjects alone.
-- $1 examples integer   $2 subject_ids uuid[]
WITH touched AS (SELECT DISTINCT t.subject_id FROM unnest($2::uuid[]) AS t (subject_id)),
senders AS (
    SELECT s.subject_id, s.sender FROM phone_number_senders_v0 AS s
    JOIN touched AS t ON t.subject_id = s.subject_id
    UNION
    SELECT s.subject_id, s.sender FROM phone_number_senders_v1 AS s
    JOIN touched AS t ON t.subject_id = s.subject_id
),
changed AS (
    SELECT t.subject_id, '' AS sender,
        coalesce(o.status, 'unknown') AS was, coalesce(n.status, 'unknown') AS becomes
    FROM touched AS t
    LEFT JOIN phone_numbers_v0 AS o ON o.subject_id = t.subject_id
    LEFT JOIN phone_numbers_v1 AS n ON n.subject_id = t.subject_id
    WHERE o.status IS DISTINCT FROM n.status
    UNION ALL
    SELECT s.subject_id, s.sender,
        coalesce(o.status, 'unknown'), coalesce(n.status, 'unknown')
    FROM senders AS s
    LEFT JOIN phone_number_senders_v0 AS o
        ON o.subject_id = s.subject_id AND o.sender = s.sender
    LEFT JOIN phone_number_senders_v1 AS n
        ON n.subject_id = s.subject_id AND n.sender = s.sender
    WHERE o.status IS DISTINCT FROM n.status
),
ranked AS (
    SELECT c.was, c.becomes, c.subject_id,
        hashtextextended(c.subject_id || c.sender, 0) AS hash,
        dense_rank() OVER (PARTITION BY c.was, c.becomes ORDER BY c.subject_id) AS place
    FROM changed AS c
)
SELECT r.was, r.becomes, max(r.place),
    array_agg(DISTINCT r.subject_id) FILTER (WHERE r.place <= $1::integer),
    sum(r.hash)::text
FROM ranked AS r
GROUP BY r.was, r.becomes ORDER BY r.was, r.becomes
