-- Puts subjects' keys, wrapped anew, where the old ones are still: a subject that was
-- erased meanwhile does not come back.
-- $1 current master key text   $2 old keys bytea[]   $3 new keys bytea[]
-- $4 subjects uuid[]
UPDATE subject_keys AS k SET wrapped_key = p.rewrapped, master_key = $1
FROM unnest($2::bytea[], $3::bytea[], $4::uuid[]) AS p (wrapped, rewrapped, subject_id)
WHERE k.subject_id = p.subject_id AND k.wrapped_key = p.wrapped
