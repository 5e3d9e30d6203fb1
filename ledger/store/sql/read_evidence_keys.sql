-- The wrapped secrets of days that have not been destroyed.
-- $1 names text[]
SELECT name, wrapped_key, master_key FROM evidence_keys WHERE name = ANY ($1::text[])
