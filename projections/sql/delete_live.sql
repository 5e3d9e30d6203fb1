-- Has a version kept up to date no more, and forgets what it has applied.
-- $1 projection text   $2 version integer
WITH digests AS (
    DELETE FROM projection_digests WHERE name = $1 AND version = $2
)
DELETE FROM projections WHERE name = $1 AND version = $2
