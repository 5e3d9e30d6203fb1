-- What Twilio was told just now, and which of it it would not take.
-- $1 account_sid text   $2 subject_ids uuid[]   $3 senders text[]   $4 statuses text[]
-- $5 versions bigint[]   $6 error_codes integer[]
INSERT INTO pushed_consents
    (account_sid, subject_id, sender, status, version, error_code)
SELECT $1, * FROM unnest(
    $2::uuid[], $3::text[], $4::text[], $5::bigint[], $6::integer[])
ON CONFLICT (account_sid, subject_id, sender) DO UPDATE SET
    status = excluded.status, version = excluded.version,
    error_code = excluded.error_code, pushed_at = clock_timestamp()
