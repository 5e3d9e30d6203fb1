-- Has a version kept up to date from a position on, where it is not yet.
-- $1 projection text   $2 version integer   $3 shape integer   $4 position bigint
INSERT INTO projections (name, version, shape, position) VALUES ($1, $2, $3, $4)
ON CONFLICT DO NOTHING
