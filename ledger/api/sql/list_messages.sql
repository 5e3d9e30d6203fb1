-- Texts of one direction before a position, the newest first.
-- $1 direction text   $2 before position bigint   $3 limit bigint
SELECT message_id, subject_id, phone_number, sid, direction, sender, address, status,
    error_code, send_at, position, version, occurred_at, updated_at
FROM messages_v1
WHERE direction = $1 AND position < $2
ORDER BY position DESC
LIMIT $3
