-- Notes that the rows of slices are in the tables, in the transaction that wrote them; the
-- events are counted with the first. It objects where another process has written them, or
-- where nothing is to be built any more.
-- $1 projection text   $2 slices integer[]   $3 events bigint
INSERT INTO rebuilt_slices (name, slice, events)
SELECT $1, s.slice, CASE WHEN s.ordinal = 1 THEN $3 ELSE 0 END
FROM unnest($2::integer[]) WITH ORDINALITY AS s (slice, ordinal)
