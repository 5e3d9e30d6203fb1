-- The texts that a batch goes on with, as far as they are known.
-- $1 message_ids uuid[]
SELECT m.message_id, m.subject_id, m.phone_number, m.sid, m.direction, m.sender, m.address,
    m.status, m.error_code, m.send_at, m.position, m.version, m.occurred_at, m.updated_at
FROM unnest($1::uuid[]) AS touched (message_id),
LATERAL (
    SELECT * FROM messages_v1 AS s WHERE s.message_id = touched.message_id
) AS m
