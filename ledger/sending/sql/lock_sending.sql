-- Held by the one process that settles, for as long as its connection is open.
SELECT pg_try_advisory_lock(hashtext('consent-ledger sending'), 0)
