-- Has a version kept up to date no more.
-- $1 projection text   $2 version integer
DELETE FROM projections WHERE name = $1 AND version = $2
