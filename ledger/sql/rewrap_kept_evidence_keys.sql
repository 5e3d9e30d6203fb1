-- Puts keys that held subjects keep, wrapped anew, where the old ones are still: what was
-- destroyed meanwhile does not come back.
-- $1 current master key text   $2 old keys bytea[]   $3 new keys bytea[]
-- $4 subjects uuid[]           $5 names text[]
UPDATE kept_evidence_keys AS k SET wrapped_key = p.rewrapped, master_key = $1
FROM unnest($2::bytea[], $3::bytea[], $4::uuid[], $5::text[])
    AS p (wrapped, rewrapped, subject_id, name)
WHERE k.subject_id = p.subject_id AND k.name = p.name AND k.wrapped_key = p.wrapped
