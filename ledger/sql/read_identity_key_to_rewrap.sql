-- The identity's key.
-- $1 limit bigint
SELECT wrapped_key, master_key FROM identity_key LIMIT $1
