-- Writes the overall status of the numbers that a batch touches.
-- $1 phone_numbers text[]   $2 statuses text[]     $3 since timestamptz[]
-- $4 positions bigint[]     $5 versions bigint[]   $6 updated_at timestamptz[]
INSERT INTO phone_numbers_v1
    (phone_number, status, since, position, version, updated_at)
SELECT * FROM unnest(
    $1::text[], $2::text[], $3::timestamptz[], $4::bigint[], $5::bigint[],
    $6::timestamptz[])
ON CONFLICT (phone_number) DO UPDATE SET
    status = excluded.status, since = excluded.since, position = excluded.position,
    version = excluded.version, updated_at = excluded.updated_at
