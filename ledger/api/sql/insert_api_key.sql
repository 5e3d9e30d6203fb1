-- Makes a key.
-- $1 name text   $2 secret_sha256 bytea   $3 role text
INSERT INTO api_keys (name, secret_sha256, role) VALUES ($1, $2, $3)
