-- The versions of a projection that neither serve nor are being built, newest first.
-- $1 projection text
SELECT p.name, p.version, p.shape FROM projections AS p
WHERE p.name = $1
    AND NOT EXISTS (
        SELECT FROM projection_pointers AS s
        WHERE s.name = p.name AND s.version = p.version)
    AND NOT EXISTS (
        SELECT FROM rebuilds AS r WHERE r.name = p.name AND r.version = p.version)
ORDER BY p.version DESC
