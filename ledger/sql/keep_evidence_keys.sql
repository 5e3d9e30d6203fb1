-- Keeps, for subjects that were not erased meanwhile, what opens their evidence of days.
-- $1 subjects uuid[]   $2 names text[]   $3 wrapped keys bytea[]   $4 master keys text[]
INSERT INTO kept_evidence_keys (subject_id, name, wrapped_key, master_key)
SELECT p.subject_id, p.name, p.wrapped_key, p.master_key
FROM unnest($1::uuid[], $2::text[], $3::bytea[], $4::text[])
    AS p (subject_id, name, wrapped_key, master_key)
WHERE EXISTS (SELECT FROM subject_keys AS k WHERE k.subject_id = p.subject_id)
ON CONFLICT DO NOTHING
