-- Where a projection and the ledger stand, and what time it is there.
-- $1 name text   $2 version integer
SELECT p.position AS reached, l.position AS ledger_position, clock_timestamp() AS now
FROM ledger_position AS l
JOIN projections AS p ON p.name = $1 AND p.version = $2
