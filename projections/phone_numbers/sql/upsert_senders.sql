-- Writes the deciding facts that a batch changed.
-- $1 phone_numbers text[]  $2 senders text[]      $3 statuses text[]
-- $4 since timestamptz[]   $5 positions bigint[]  $6 versions bigint[]
INSERT INTO phone_number_senders_v1
    (phone_number, sender, status, since, position, version)
SELECT * FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::bigint[], $6::bigint[])
ON CONFLICT (phone_number, sender) DO UPDATE SET
    status = excluded.status, since = excluded.since,
    position = excluded.position, version = excluded.version
