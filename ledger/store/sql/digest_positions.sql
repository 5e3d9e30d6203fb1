-- The events of a range of positions, by slice of subjects: how many they are, and the XOR
-- of the first 128 bits of each one's SHA-256, in two halves. What is hashed is all of an
-- event's row.
-- $1 first position bigint   $2 last position bigint
SELECT e.slice, count(*),
    bit_xor(('x' || left(e.digest, 16))::bit(64)::bigint),
    bit_xor(('x' || substr(e.digest, 17, 16))::bit(64)::bigint)
FROM (
    SELECT get_byte(uuid_send(originator_id), 0) / 4 AS slice,
        encode(sha256(int8send(notification_id) || int8send(originator_version)
            || uuid_send(originator_id) || convert_to(topic, 'UTF8') || '\x00'::bytea
            || state), 'hex') AS digest
    FROM ledger_events
    WHERE notification_id BETWEEN $1 AND $2
    OFFSET 0
) AS e
GROUP BY e.slice
