-- Refuses a key from now on; nothing comes back where there was none in force.
-- $1 name text
UPDATE api_keys SET revoked_at = clock_timestamp()
WHERE name = $1 AND revoked_at IS NULL
RETURNING name
