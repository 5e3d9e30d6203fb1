-- Writes the overall status of the numbers that a batch touches.
-- $1 subject_ids uuid[]    $2 phone_numbers text[]   $3 statuses text[]
-- $4 since timestamptz[]   $5 positions bigint[]     $6 versions bigint[]
-- $7 updated_at timestamptz[]
INSERT INTO phone_numbers_v1
    (subject_id, phone_number, status, since, position, version, updated_at)
SELECT * FROM unnest(
    $1::uuid[], $2::text[], $3::text[], $4::timestamptz[], $5::bigint[], $6::bigint[],
    $7::timestamptz[])
ON CONFLICT (subject_id) DO UPDATE SET
    status = excluded.status, since = excluded.since, position = excluded.position,
    version = excluded.version, updated_at = excluded.updated_at
