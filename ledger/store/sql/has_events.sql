-- Whether anything was recorded yet.
SELECT position > 0 FROM ledger_position
