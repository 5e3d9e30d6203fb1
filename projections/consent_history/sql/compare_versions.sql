-- The subjects of whom two versions tell different things: by kind of change, with the
-- first few, and a digest of which they are.
-- $1 examples integer
WITH changed AS (
    SELECT coalesce(o.subject_id, n.subject_id) AS subject_id,
        coalesce(o.position, n.position) AS position,
        coalesce(o.status, 'unknown') AS was, coalesce(n.status, 'unknown') AS becomes
    FROM consent_history_v0 AS o
    FULL JOIN consent_history_v1 AS n
        ON n.subject_id = o.subject_id AND n.position = o.position
    WHERE o.status IS DISTINCT FROM n.status
)
SELECT c.was, c.becomes, count(DISTINCT c.subject_id),
    (array_agg(DISTINCT c.subject_id))[1:$1::integer],
    md5(string_agg(c.position::text, ',' ORDER BY c.position))
FROM changed AS c
GROUP BY c.was, c.becomes ORDER BY c.was, c.becomes
