-- Every key, oldest first.
SELECT name, role, created_at, revoked_at FROM api_keys ORDER BY created_at, name
