-- How many numbers there are of each status.
SELECT status, count(*) FROM phone_numbers_v1 GROUP BY status
