-- The keys that held subjects keep, after one, in order.
-- $1 limit bigint   $2 after subject uuid   $3 after name text
SELECT subject_id, name, wrapped_key, master_key
FROM kept_evidence_keys
WHERE (subject_id, name) > ($2, $3)
ORDER BY subject_id, name
LIMIT $1
