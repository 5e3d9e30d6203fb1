-- Where the ledger and each projection stand, for a person.
SELECT l.position AS ledger_position, p.name, p.version, s.name IS NOT NULL, p.position,
    greatest(0, l.position - p.position),
    extract(epoch FROM clock_timestamp() - p.seen_at)::float8, p.stopped_reason
FROM ledger_position AS l LEFT JOIN projections AS p ON true
LEFT JOIN projection_pointers AS s ON s.name = p.name AND s.version = p.version
ORDER BY p.name, p.version
