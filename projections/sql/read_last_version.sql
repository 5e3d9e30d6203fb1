-- The newest version of a projection that is there.
-- $1 projection text
SELECT max(p.version) FROM projections AS p WHERE p.name = $1
