-- Writes the texts that a batch touches.
-- $1 message_ids uuid[]       $2 subject_ids uuid[]  $3 phone_numbers text[]
-- $4 sids text[]              $5 directions text[]   $6 senders text[]
-- $7 addresses text[]         $8 statuses text[]     $9 error_codes integer[]
-- $10 send_at timestamptz[]   $11 positions bigint[] $12 versions bigint[]
-- $13 occurred_at timestamptz[]                      $14 updated_at timestamptz[]
INSERT INTO messages_v1
    (message_id, subject_id, phone_number, sid, direction, sender, address, status,
    error_code, send_at, position, version, occurred_at, updated_at)
SELECT * FROM unnest(
    $1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
    $8::text[], $9::integer[], $10::timestamptz[], $11::bigint[], $12::bigint[],
    $13::timestamptz[], $14::timestamptz[])
ON CONFLICT (message_id) DO UPDATE SET
    sid = excluded.sid, direction = excluded.direction, sender = excluded.sender,
    address = excluded.address, status = excluded.status,
    error_code = excluded.error_code, send_at = excluded.send_at,
    version = excluded.version, updated_at = excluded.updated_at
