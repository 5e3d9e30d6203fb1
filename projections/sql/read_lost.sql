-- The versions that answer, by the pointers, and whose place nobody knows any more.
SELECT s.name, s.version FROM projection_pointers AS s
WHERE NOT EXISTS (
    SELECT FROM projections AS p WHERE p.name = s.name AND p.version = s.version)
ORDER BY s.name
