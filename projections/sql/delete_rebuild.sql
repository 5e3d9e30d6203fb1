-- Forgets that a version is being built, and which slices of it are there.
-- $1 projection text
DELETE FROM rebuilds WHERE name = $1
