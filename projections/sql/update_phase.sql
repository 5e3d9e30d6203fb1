-- Notes how far the building of a version has come, if it was not cancelled.
-- $1 projection text   $2 version integer   $3 phase text
UPDATE rebuilds SET phase = $3, seen_at = clock_timestamp()
WHERE name = $1 AND version = $2 AND phase <> 'cancelled'
