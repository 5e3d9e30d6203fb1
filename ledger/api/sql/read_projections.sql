-- Where the ledger and each projection stand.
SELECT l.position AS ledger_position, p.name, p.version, p.position,
    p.stopped_reason, extract(epoch FROM clock_timestamp() - p.seen_at)::float8 AS idle
FROM ledger_position AS l LEFT JOIN projections AS p ON true
ORDER BY p.name, p.version
