-- Registers the first version of a projection, at position 0; nothing comes back where
-- there is a version of it already.
-- $1 name text   $2 version integer   $3 shape integer
INSERT INTO projections (name, version, shape)
SELECT $1, $2, $3
WHERE NOT EXISTS (SELECT FROM projections AS p WHERE p.name = $1)
RETURNING name
