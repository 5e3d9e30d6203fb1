-- Why a channel does not move, and since when.
-- $1 channel text   $2 reason text
UPDATE notice_channels
SET failed_reason = $2, failing_since = coalesce(failing_since, clock_timestamp())
WHERE channel = $1
