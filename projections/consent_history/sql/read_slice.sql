-- The history of a range of subjects.
-- $1 first subject uuid   $2 last subject uuid
SELECT subject_id, position, version, sender, status, previous_status, occurred_at,
    recorded_at, source, matched_by, actor
FROM consent_history_v1
WHERE subject_id BETWEEN $1 AND $2
