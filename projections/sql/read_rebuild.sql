-- The version of a projection that is being built.
-- $1 projection text
SELECT version, shape, frontier, slices, phase FROM rebuilds WHERE name = $1
