-- The versions of projections that are kept up to date, and whether each one answers.
SELECT p.name, p.version, p.shape, s.name IS NOT NULL AS serves
FROM projections AS p
LEFT JOIN projection_pointers AS s ON s.name = p.name AND s.version = p.version
