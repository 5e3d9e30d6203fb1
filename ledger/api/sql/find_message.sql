-- A text, by its stream.
-- $1 message uuid
SELECT message_id, subject_id, phone_number, sid, direction, sender, address, status,
    error_code, send_at, position, version, occurred_at, updated_at
FROM messages_v1
WHERE message_id = $1
