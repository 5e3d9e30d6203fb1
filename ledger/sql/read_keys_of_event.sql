-- The wrapped keys that seal one event: the subject's, the day's, and what the subject
-- keeps of the day; null where one was destroyed.
-- $1 subject uuid   $2 day text
SELECT s.wrapped_key, s.master_key, d.wrapped_key, d.master_key,
    k.wrapped_key, k.master_key
FROM (SELECT $1::uuid AS subject_id, $2::text AS day) AS e
LEFT JOIN subject_keys AS s ON s.subject_id = e.subject_id
LEFT JOIN evidence_keys AS d ON d.name = e.day
LEFT JOIN kept_evidence_keys AS k ON k.subject_id = e.subject_id AND k.name = e.day
