-- Held by the one process that does this work, for as long as its connection is open.
-- $1 name text
SELECT pg_try_advisory_lock(hashtext($1), 0)
