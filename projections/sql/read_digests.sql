-- Where each version of each projection stands, and what it has applied of a stretch of
-- positions, slice by slice; one row without a slice where that is nothing.
-- $1 first position bigint
SELECT p.name, p.version, p.position, d.slice, d.events, d.digest_high, d.digest_low
FROM projections AS p
LEFT JOIN projection_digests AS d
    ON d.name = p.name AND d.version = p.version AND d.first_position = $1
