-- A page of numbers by since and number, descending: for each status a range of one
-- index. The comparisons of since alone are implied; they tell the planner that it is a
-- range. The limit comes through a row, so that the plan for one page size is the plan
-- for all.
-- $1 status text, $2 from, $4 to since timestamptz, $3 from, $5 to phone_number text
-- (or null)   $6, $7, $8, $9, $10 the second's
-- $11, $12, $13, $14, $15 the third's   $16 whether one comes after the other boolean
-- $17 excluded numbers text[]   $18 rows bigint, of which are passed over $19 bigint
SELECT p.phone_number AS "phoneNumber", p.status, p.since, p.position, p.version
FROM (
    VALUES
        (
            1, $1::text, $2::timestamptz, $3::text, $4::timestamptz, $5::text,
            $18::bigint
        ),
        (2, $6, $7, $8, $9, $10, $18),
        (3, $11, $12, $13, $14, $15, $18)
) AS part (place, status, start, start_number, stop, stop_number, rows_max),
LATERAL (
    SELECT * FROM phone_numbers_v1 AS n
    WHERE n.status = part.status
        AND n.since >= part.start AND n.since <= part.stop
        AND (n.since, n.phone_number) >= (part.start, part.start_number)
        AND (n.since, n.phone_number) < (part.stop, part.stop_number)
        AND n.phone_number <> ALL ($17::text[])
    ORDER BY n.since DESC, n.phone_number DESC LIMIT part.rows_max
) AS p
ORDER BY CASE WHEN $16::boolean THEN part.place END, p.since DESC, p.phone_number DESC
LIMIT $18 - $19::bigint OFFSET $19
