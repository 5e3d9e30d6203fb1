-- Writes the deciding facts that a batch changed.
-- $1 subject_ids uuid[]    $2 phone_numbers text[]   $3 senders text[]
-- $4 statuses text[]       $5 since timestamptz[]    $6 positions bigint[]
-- $7 versions bigint[]
INSERT INTO phone_number_senders_v1
    (subject_id, phone_number, sender, status, since, position, version)
SELECT * FROM unnest(
    $1::uuid[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::bigint[],
    $7::bigint[])
ON CONFLICT (subject_id, sender) DO UPDATE SET
    status = excluded.status, since = excluded.since,
    position = excluded.position, version = excluded.version
