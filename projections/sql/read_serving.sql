-- The version of a projection that serves.
-- $1 projection text
SELECT p.name, p.version, p.shape
FROM projection_pointers AS s
JOIN projections AS p ON p.name = s.name AND p.version = s.version
WHERE s.name = $1
