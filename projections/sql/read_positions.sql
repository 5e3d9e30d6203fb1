-- Where versions of a projection stand.
-- $1 projection text   $2 versions integer[]
SELECT version, position FROM projections WHERE name = $1 AND version = ANY ($2::integer[])
