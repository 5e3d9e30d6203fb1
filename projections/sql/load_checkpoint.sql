-- The position that a projection has reached.
-- $1 name text   $2 version integer
SELECT position FROM projections WHERE name = $1 AND version = $2
