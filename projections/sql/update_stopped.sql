-- Says why a projection cannot go on.
-- $1 name text   $2 version integer   $3 reason text
UPDATE projections SET stopped_reason = $3 WHERE name = $1 AND version = $2
