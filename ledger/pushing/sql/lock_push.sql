-- Whether this connection may push for an account; until it is closed, nobody else may.
-- $1 account_sid text
SELECT pg_try_advisory_lock(hashtext('consent-ledger push'), hashtext($1))
