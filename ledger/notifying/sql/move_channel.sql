-- Only from where it was read: another process may have moved it, and goes on from there.
-- $1 channel text   $2 from bigint   $3 position bigint
UPDATE notice_channels
SET position = $3, saved_at = clock_timestamp(), failing_since = NULL, failed_reason = NULL
WHERE channel = $1 AND position = $2
RETURNING position
