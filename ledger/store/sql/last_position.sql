-- The position of the newest event; 0 in an empty ledger.
SELECT position FROM ledger_position
