-- Where each version of each projection stands, and how many events its digests hold.
SELECT p.name, p.version, p.position, coalesce(sum(d.events), 0)::bigint
FROM projections AS p
LEFT JOIN projection_digests AS d ON d.name = p.name AND d.version = p.version
GROUP BY p.name, p.version, p.position
ORDER BY p.name, p.version
