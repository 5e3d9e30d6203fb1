-- The same as find_checked_as_of.sql, whatever anybody has said: found as find_as_of.sql
-- finds it, by one step of the index for each sender.
-- $1 subject_ids uuid[]   $2 as_of timestamptz   $3 known_at timestamptz
-- $4 position bigint
SELECT wanted.subject_id, d.sender, d.status, d.occurred_at, d.position
FROM unnest($1::uuid[]) AS wanted (subject_id),
LATERAL (
    WITH RECURSIVE steps (sender) AS (
        (
            SELECT h.sender FROM consent_history_v1 AS h
            WHERE h.subject_id = wanted.subject_id ORDER BY h.sender LIMIT 1
        )
        UNION ALL
        SELECT (
            SELECT h.sender FROM consent_history_v1 AS h
            WHERE h.subject_id = wanted.subject_id AND h.sender > p.sender
            ORDER BY h.sender LIMIT 1
        )
        FROM steps AS p WHERE p.sender IS NOT NULL
    )
    SELECT newest.*
    FROM steps AS p,
    LATERAL (
        SELECT h.sender, h.status, h.occurred_at, h.position
        FROM consent_history_v1 AS h
        WHERE h.subject_id = wanted.subject_id AND h.sender = p.sender
            AND h.occurred_at <= $2 AND h.recorded_at <= $3 AND h.position <= $4
        ORDER BY h.occurred_at DESC, h.position DESC LIMIT 1
    ) AS newest
) AS d
UNION ALL
SELECT e.subject_id, null, e.status, e.since, e.position
FROM erased_subjects AS e WHERE e.subject_id = ANY($1)
