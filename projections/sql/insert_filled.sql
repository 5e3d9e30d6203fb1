-- Takes a slice, before its rows are written and in their transaction: nothing comes back
-- where another process has written them, or nothing is to be filled any more.
-- $1 projection text   $2 version integer   $3 slice integer
INSERT INTO rebuilt_slices (name, slice, events)
SELECT r.name, $3::integer, 0 FROM rebuilds AS r
WHERE r.name = $1 AND r.version = $2 AND r.phase = 'filling'
ON CONFLICT DO NOTHING
RETURNING slice
