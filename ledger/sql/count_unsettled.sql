-- How many texts are there of which nobody knows yet whether Twilio has them.
SELECT count(*)
FROM ledger_events AS e, sending_checkpoint AS c
WHERE e.topic = 'ledger.domain.events:MessageRequested'
    AND e.notification_id > c.position
    AND NOT EXISTS (
        SELECT FROM ledger_events AS n
        WHERE n.originator_id = e.originator_id
            AND n.originator_version = e.originator_version + 1)
