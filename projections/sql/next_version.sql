-- A version of a projection that there never was.
-- $1 projection text
UPDATE projection_pointers SET version_last = version_last + 1
WHERE name = $1
RETURNING version_last
