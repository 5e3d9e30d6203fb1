-- Whether nobody else rebuilds this projection; held until the connection ends.
-- $1 projection text
SELECT pg_try_advisory_lock(hashtext('consent-ledger rebuild'), hashtext($1))
