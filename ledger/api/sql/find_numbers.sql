-- The records of several numbers, one row a sender; numbers never seen give none.
-- $1 phone_numbers text[]
SELECT n.phone_number, n.status, n.since, n.position, n.version,
    s.sender, s.status, s.since, s.position
FROM unnest($1::text[]) AS wanted (phone_number),
LATERAL (
    SELECT * FROM phone_numbers_v1 AS p WHERE p.phone_number = wanted.phone_number
) AS n,
LATERAL (
    SELECT * FROM phone_number_senders_v1 AS p
    WHERE p.phone_number = wanted.phone_number ORDER BY p.sender
) AS s
