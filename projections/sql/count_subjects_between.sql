-- How many subjects have an event after a position, up to another.
-- $1 after position bigint   $2 last position bigint
SELECT count(DISTINCT originator_id) FROM ledger_events
WHERE notification_id > $1 AND notification_id <= $2
