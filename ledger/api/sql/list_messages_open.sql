-- Outgoing texts before a position that are in a state in which few are, the newest first.
-- The states are written as the partial index has them.
-- $1 before position bigint   $2 limit bigint   $3 status text
SELECT message_id, subject_id, phone_number, sid, direction, sender, address, status,
    error_code, send_at, position, version, occurred_at, updated_at
FROM messages_v1
WHERE status IN ('requested', 'unknown', 'scheduled') AND status = $3
    AND direction = 'outgoing' AND position < $1
ORDER BY position DESC
LIMIT $2
