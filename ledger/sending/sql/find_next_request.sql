-- From where there is something to be read: before the next text that was asked for, or,
-- where there is none, at the ledger's end. In one statement, so that none is missed
-- between the two looks.
-- $1 position bigint
SELECT coalesce(
    (SELECT min(e.notification_id) - 1 FROM ledger_events AS e
        WHERE e.notification_id > $1
            AND e.topic = 'ledger.domain.events:MessageRequested'),
    (SELECT p.position FROM ledger_position AS p))
