-- Begins to build a version, from the events up to a position.
-- $1 projection text   $2 version integer   $3 shape integer   $4 frontier bigint
-- $5 slices integer
INSERT INTO rebuilds (name, version, shape, frontier, slices, phase)
VALUES ($1, $2, $3, $4, $5, 'filling')
