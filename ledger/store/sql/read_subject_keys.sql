-- The wrapped keys of those subjects that have not been erased.
-- $1 subjects uuid[], as text, since arrays cost asyncpg a look at the type of every
-- value
SELECT k.subject_id, k.wrapped_key, k.master_key
FROM unnest($1::text::uuid[]) AS wanted (subject_id),
LATERAL (SELECT * FROM subject_keys AS s WHERE s.subject_id = wanted.subject_id) AS k
