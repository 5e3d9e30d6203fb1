-- What each version of a projection has applied, as digests.

-- For each stretch of 65,536 positions and each of 64 slices of subjects: how many of
-- its events a version has applied, and the XOR of the first 128 bits of each one's
-- SHA-256, in two halves. Written in the transaction that moves the checkpoint.
CREATE TABLE projection_digests (
    name text COLLATE "C" NOT NULL,
    version integer NOT NULL,
    first_position bigint NOT NULL,
    slice smallint NOT NULL,
    events bigint NOT NULL,
    digest_high bigint NOT NULL,
    digest_low bigint NOT NULL,
    CONSTRAINT projection_digests_one_a_stretch_and_slice
        PRIMARY KEY (first_position, slice, name, version),
    CONSTRAINT projection_digests_slice_is_a_slice CHECK (slice BETWEEN 0 AND 63)
) WITH (fillfactor = 50);

-- What was applied before there were digests is taken to be what the events say; the rows
-- that came of it are compared with them as ever.
LOCK TABLE projections IN SHARE ROW EXCLUSIVE MODE;
INSERT INTO projection_digests
    (name, version, first_position, slice, events, digest_high, digest_low)
SELECT p.name, p.version, e.first_position, e.slice, count(*),
    bit_xor(('x' || left(e.digest, 16))::bit(64)::bigint),
    bit_xor(('x' || substr(e.digest, 17, 16))::bit(64)::bigint)
FROM projections AS p
JOIN (
    SELECT notification_id AS position,
        (notification_id - 1) / 65536 * 65536 + 1 AS first_position,
        get_byte(uuid_send(originator_id), 0) / 4 AS slice,
        encode(sha256(int8send(notification_id) || int8send(originator_version)
            || uuid_send(originator_id) || convert_to(topic, 'UTF8') || '\x00'::bytea
            || state), 'hex') AS digest
    FROM ledger_events
) AS e ON e.position <= p.position
GROUP BY p.name, p.version, e.first_position, e.slice;
