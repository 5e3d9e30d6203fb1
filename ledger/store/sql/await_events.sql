-- Says that somebody waits for the next event, and where the ledger ends.
SELECT await_events_v1()
