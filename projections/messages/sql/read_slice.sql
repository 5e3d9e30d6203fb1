-- The texts of a range of streams.
-- $1 first message uuid   $2 last message uuid
SELECT message_id, subject_id, phone_number, sid, direction, sender, address, status,
    error_code, send_at, position, version, occurred_at, updated_at
FROM messages_v1
WHERE message_id BETWEEN $1 AND $2
