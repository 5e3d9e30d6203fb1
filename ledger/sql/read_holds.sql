-- Who was ever under a legal hold, and the position of the newest event about it. The
-- topics are written out so that the partial index of migration 0003 serves.
SELECT originator_id, max(notification_id) AS position
FROM ledger_events
WHERE topic IN ('ledger.domain.events:HoldPlaced', 'ledger.domain.events:HoldReleased')
GROUP BY originator_id
