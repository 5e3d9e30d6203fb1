-- Has this transaction give up where somebody reads a table for long, a backup say: what
-- it holds, others wait for.
SET LOCAL lock_timeout = '2s'
