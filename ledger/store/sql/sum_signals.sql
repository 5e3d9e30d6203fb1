-- How many signals there are in a range of pages up to a position, and their positions
-- added up: the table is append-only, so a row stays on its page. An index by position
-- would cost every append.
-- $1 first page tid   $2 page after the last tid   $3 position bigint
SELECT count(*), coalesce(sum(s.position), 0)::text
FROM signal_keys AS s
WHERE s.ctid >= $1 AND s.ctid < $2 AND s.position <= $3
