-- The versions that workers keep up to date: all but one that whoever builds it still
-- brings near.
SELECT p.name, p.version, p.shape FROM projections AS p
WHERE NOT EXISTS (
    SELECT FROM rebuilds AS r
    WHERE r.name = p.name AND r.version = p.version AND r.phase <> 'compared')
ORDER BY p.name, p.version
