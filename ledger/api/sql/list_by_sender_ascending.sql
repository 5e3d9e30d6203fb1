-- A page of what is said to one sender, by number, ascending: for each status a
-- range of one index. The limit comes through a row, so that the plan for one page size
-- is the plan for all.
-- $1 status text, $2 from, $3 to phone_number text (or null)   $4, $5, $6 the second's
-- $7, $8, $9 the third's   $10 whether one comes after the other boolean
-- $11 excluded numbers text[]   $12 rows bigint, of which are passed over $13 bigint
-- $14 sender text
SELECT p.phone_number AS "phoneNumber", p.status, p.sender, p.since, p.position
FROM (
    VALUES
        (1, $1::text, $2::text, $3::text, $12::bigint),
        (2, $4, $5, $6, $12), (3, $7, $8, $9, $12)
) AS part (place, status, start, stop, rows_max),
LATERAL (
    SELECT * FROM phone_number_senders_v1 AS n
    WHERE n.sender = $14::text AND n.status = part.status
        AND n.phone_number >= part.start AND n.phone_number < part.stop
        AND n.phone_number <> ALL ($11::text[])
    ORDER BY n.phone_number LIMIT part.rows_max
) AS p
ORDER BY CASE WHEN $10::boolean THEN part.place END, p.phone_number
LIMIT $12 - $13::bigint OFFSET $13
