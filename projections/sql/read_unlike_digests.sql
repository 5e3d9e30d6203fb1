-- The stretches of which two versions of a projection have not applied the same.
-- $1 projection text   $2 version integer   $3 other version integer
SELECT DISTINCT first_position
FROM (SELECT * FROM projection_digests WHERE name = $1 AND version = $2) AS o
FULL JOIN (SELECT * FROM projection_digests WHERE name = $1 AND version = $3) AS n
    USING (first_position, slice)
WHERE (o.events, o.digest_high, o.digest_low)
    IS DISTINCT FROM (n.events, n.digest_high, n.digest_low)
ORDER BY first_position
