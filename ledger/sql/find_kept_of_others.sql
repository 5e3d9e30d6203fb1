-- Whether anybody but these subjects keeps evidence of a day that was destroyed.
-- $1 subjects uuid[]
SELECT EXISTS (
    SELECT FROM kept_evidence_keys WHERE subject_id <> ALL ($1::uuid[])
)
