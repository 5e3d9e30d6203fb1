-- Whether a version is being built still.
-- $1 projection text   $2 version integer
SELECT EXISTS (
    SELECT FROM rebuilds AS r
    WHERE r.name = $1 AND r.version = $2 AND r.phase <> 'cancelled')
