-- Holds versions of a projection still, and says where each one stands. An erasure, which
-- sees to it that none is dropped meanwhile, goes on.
-- $1 projection text   $2 versions integer[]
SELECT version, position FROM projections
WHERE name = $1 AND version = ANY ($2::integer[])
ORDER BY version FOR NO KEY UPDATE
