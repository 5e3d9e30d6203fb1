-- Lets the first version of a projection answer.
-- $1 name text   $2 version integer
INSERT INTO projection_pointers (name, version, version_last) VALUES ($1, $2, $2)
ON CONFLICT DO NOTHING
