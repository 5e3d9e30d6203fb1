-- The stretches from a position on of which two versions of a projection have not applied
-- the same.
-- $1 projection text   $2 version integer   $3 other version integer
-- $4 first position bigint
SELECT DISTINCT first_position
FROM (
    SELECT * FROM projection_digests
    WHERE name = $1 AND version = $2 AND first_position >= $4
) AS o
FULL JOIN (
    SELECT * FROM projection_digests
    WHERE name = $1 AND version = $3 AND first_position >= $4
) AS n USING (first_position, slice)
WHERE (o.events, o.digest_high, o.digest_low)
    IS DISTINCT FROM (n.events, n.digest_high, n.digest_low)
ORDER BY first_position
