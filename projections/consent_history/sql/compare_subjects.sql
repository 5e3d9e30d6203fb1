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
)
SELECT c.was, c.becomes, count(DISTINCT c.subject_id),
    (array_agg(DISTINCT c.subject_id))[1:$1::integer],
    md5(string_agg(c.position::text, ',' ORDER BY c.position))
FROM changed AS c
GROUP BY c.was, c.becomes ORDER BY c.was, c.becomes
