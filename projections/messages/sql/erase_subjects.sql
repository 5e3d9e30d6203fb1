-- Deletes the texts of subjects whose erasure is in a batch; there are some only where
-- the projector had not come so far when they were erased.
-- $1 subject_ids uuid[]
SELECT messages_v1_erase(erased.subject_id)
FROM unnest($1::uuid[]) AS erased (subject_id)
