-- The streams of the texts of some subjects, oldest first. The condition is written as the
-- partial index of migration 0007 has it.
-- $1 subjects in hexadecimal bytea[]
SELECT encode(substring(state FROM 214 FOR 32), 'escape')::uuid, originator_id
FROM ledger_events
WHERE originator_version = 1 AND topic IN (
        'ledger.domain.events:MessageReceived',
        'ledger.domain.events:MessageRequested',
        'ledger.domain.events:MessageSent')
    AND substring(state FROM 214 FOR 32) = ANY ($1::bytea[])
ORDER BY notification_id
