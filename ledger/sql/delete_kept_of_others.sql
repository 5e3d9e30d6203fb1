-- Destroys what anybody but these subjects keeps of days that were destroyed.
-- $1 subjects uuid[]
DELETE FROM kept_evidence_keys WHERE subject_id <> ALL ($1::uuid[])
