-- The positions in a range that no event has.
-- $1 first position bigint   $2 last position bigint   $3 limit bigint
SELECT expected.position
FROM generate_series($1::bigint, $2::bigint) AS expected (position)
WHERE NOT EXISTS (
    SELECT FROM ledger_events AS e WHERE e.notification_id = expected.position)
ORDER BY expected.position
LIMIT $3
