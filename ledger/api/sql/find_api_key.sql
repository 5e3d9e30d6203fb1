-- The key with this secret, if it is in force.
-- $1 secret_sha256 bytea
SELECT name, role FROM api_keys WHERE secret_sha256 = $1 AND revoked_at IS NULL
