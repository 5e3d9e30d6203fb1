-- The consent events of a subject, oldest first, after a position; at least one row, with
-- nulls where there are none, to say whether the subject was erased.
-- $1 subject_id uuid   $2 after position bigint   $3 limit bigint
SELECT e.subject_id IS NOT NULL AS erased,
    h.position, h.version, h.sender, h.status, h.previous_status, h.occurred_at,
    h.recorded_at, h.source, h.matched_by, h.actor
FROM (VALUES ($1::uuid)) AS wanted (subject_id)
LEFT JOIN erased_subjects AS e ON e.subject_id = wanted.subject_id
LEFT JOIN LATERAL (
    SELECT * FROM consent_history_v1 AS p
    WHERE p.subject_id = wanted.subject_id AND p.position > $2
        AND e.subject_id IS NULL
    ORDER BY p.position LIMIT $3
) AS h ON true
