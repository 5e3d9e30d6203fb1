-- Writes a batch of history.
-- $1 phone_numbers text[]        $2 positions bigint[]         $3 versions bigint[]
-- $4 senders text[]              $5 statuses text[]            $6 previous text[]
-- $7 occurred_at timestamptz[]   $8 recorded_at timestamptz[]  $9 sources text[]
-- $10 matched_by text[]          $11 actors text[]
INSERT INTO consent_history_v1 (
    phone_number, position, version, sender, status, previous_status,
    occurred_at, recorded_at, source, matched_by, actor)
SELECT * FROM unnest(
    $1::text[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[],
    $7::timestamptz[], $8::timestamptz[], $9::text[], $10::text[], $11::text[])
