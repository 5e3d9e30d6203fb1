-- Forward only: another process may be further.
-- $1 position bigint
UPDATE sending_checkpoint SET position = $1, saved_at = clock_timestamp()
WHERE position < $1
