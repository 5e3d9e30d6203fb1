-- The evidence keys that subjects under a hold keep of days that were destroyed.
-- $1 subjects uuid[]
SELECT k.subject_id, k.name, k.wrapped_key, k.master_key
FROM kept_evidence_keys AS k
WHERE k.subject_id = ANY ($1::uuid[])
