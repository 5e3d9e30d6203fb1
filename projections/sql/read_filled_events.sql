-- How many events have been folded into the tables that are being built: of several, into
-- the one that has the fewest.
-- $1 projections text[]
SELECT coalesce(min(done.events), 0)::bigint
FROM (
    SELECT w.name, coalesce(sum(s.events), 0) AS events
    FROM unnest($1::text[]) AS w (name)
    LEFT JOIN rebuilt_slices AS s ON s.name = w.name
    GROUP BY w.name
) AS done
