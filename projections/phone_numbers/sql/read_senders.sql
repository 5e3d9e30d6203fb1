-- The deciding facts of the numbers that a batch touches.
-- $1 phone_numbers text[]
SELECT s.phone_number, s.sender, s.status, s.since, s.position, s.version
FROM unnest($1::text[]) AS touched (phone_number),
LATERAL (
    SELECT * FROM phone_number_senders_v1 AS p
    WHERE p.phone_number = touched.phone_number
) AS s
