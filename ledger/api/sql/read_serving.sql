-- The versions of projections that are kept up to date, and whether each one answers; but
-- for one that is being built, which nobody has compared.
SELECT p.name, p.version, p.shape, s.name IS NOT NULL AS serves
FROM projections AS p
LEFT JOIN projection_pointers AS s ON s.name = p.name AND s.version = p.version
WHERE NOT EXISTS (
    SELECT FROM rebuilds AS r WHERE r.name = p.name AND r.version = p.version)
