-- The position of the newest event.
SELECT position FROM ledger_position
