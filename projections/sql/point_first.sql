-- Lets the first version of a projection answer.
-- $1 name text   $2 version integer
INSERT INTO projection_pointers (name, version) VALUES ($1, $2)
ON CONFLICT DO NOTHING
