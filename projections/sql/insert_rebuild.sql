-- Begins to build a version, from the events that there are now; up to which position.
-- $1 projection text   $2 version integer   $3 shape integer
INSERT INTO rebuilds (name, version, shape, frontier, phase)
SELECT $1, $2, $3, l.position, 'filling' FROM ledger_position AS l
RETURNING frontier
