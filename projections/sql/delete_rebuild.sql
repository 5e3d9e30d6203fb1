-- Forgets that a version is being built, and which slices of it are there.
-- $1 projection text   $2 version integer
DELETE FROM rebuilds WHERE name = $1 AND version = $2
