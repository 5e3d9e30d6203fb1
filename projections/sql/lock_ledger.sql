-- Takes the lock that orders the ledger, until the transaction ends.
SELECT position FROM ledger_position FOR UPDATE
