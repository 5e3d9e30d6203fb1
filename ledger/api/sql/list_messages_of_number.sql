-- Texts of one direction with one person before a position, the newest first; with one of
-- our addresses only, if that is given.
-- $1 direction text   $2 before position bigint   $3 limit bigint
-- $4 phone number text   $5 address text or null
SELECT message_id, subject_id, phone_number, sid, direction, sender, address, status,
    error_code, send_at, position, version, occurred_at, updated_at
FROM messages_v1
WHERE phone_number = $4 AND direction = $1 AND position < $2
    AND ($5::text IS NULL OR address = $5)
ORDER BY position DESC
LIMIT $3
