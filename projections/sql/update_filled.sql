-- Notes how many events were folded for a slice.
-- $1 projection text   $2 slice integer   $3 events bigint
UPDATE rebuilt_slices SET events = $3 WHERE name = $1 AND slice = $2
