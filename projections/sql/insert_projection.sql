-- Registers a projection at position 0; nothing comes back where it is known already.
-- $1 name text   $2 version integer
INSERT INTO projections (name, version) VALUES ($1, $2)
ON CONFLICT DO NOTHING
RETURNING name
