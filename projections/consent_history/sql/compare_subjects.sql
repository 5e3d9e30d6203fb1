-- The same of some subjects alone.
-- $1 examples integer   $2 subject_ids uuid[]
WITH old AS (
    SELECT h.subject_id, h.position, h.status FROM consent_history_v0 AS h
    WHERE h.subject_id = ANY ($2::uuid[])
),
new AS (
    SELECT h.subject_id, h.position, h.status FROM consent_history_v1 AS h
    WHERE h.subject_id = ANY ($2::uuid[])
),
changed AS (
    SELECT coalesce(o.subject_id, n.subject_id) AS subject_id,
        coalesce(o.position, n.position) AS position,
        coalesce(o.status, 'unknown') AS was, coalesce(n.status, 'unknown') AS becomes
    FROM old AS o FULL JOIN new AS n ON n.position = o.position
    WHERE o.status IS DISTINCT FROM n.status
),
ranked AS (
    SELECT c.was, c.becomes, c.subject_id,
        hashtextextended(c.position::text, 0) AS hash,
        dense_rank() OVER (PARTITION BY c.was, c.becomes ORDER BY c.subject_id) AS place
    FROM changed AS c
)
SELECT r.was, r.becomes, max(r.place),
    array_agg(DISTINCT r.subject_id) FILTER (WHERE r.place <= $1::integer),
    sum(r.hash)::text
FROM ranked AS r
GROUP BY r.was, r.becomes ORDER BY r.was, r.becomes
