-- Notes how far the building of a version has come.
-- $1 projection text   $2 phase text
UPDATE rebuilds SET phase = $2, seen_at = clock_timestamp() WHERE name = $1
