-- Holds versions of a projection still, and says where each one stands.
-- $1 projection text   $2 versions integer[]
SELECT version, position FROM projections
WHERE name = $1 AND version = ANY ($2::integer[])
ORDER BY version FOR UPDATE
