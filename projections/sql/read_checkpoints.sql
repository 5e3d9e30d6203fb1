-- Where the ledger and every projection stand.
SELECT l.position AS ledger_position, p.name, p.version, p.position
FROM ledger_position AS l LEFT JOIN projections AS p ON true
