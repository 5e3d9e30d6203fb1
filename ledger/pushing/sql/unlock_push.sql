-- Whoever waits may push for an account now.
-- $1 account_sid text
SELECT pg_advisory_unlock(hashtext('consent-ledger push'), hashtext($1))
