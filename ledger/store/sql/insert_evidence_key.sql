-- Gives a day its secret; the first one stays.
-- $1 name text   $2 wrapped key bytea   $3 master key text
INSERT INTO evidence_keys (name, wrapped_key, master_key) VALUES ($1, $2, $3)
ON CONFLICT DO NOTHING
