-- Why a version cannot go on; null where it can.
-- $1 projection text   $2 version integer
SELECT stopped_reason FROM projections WHERE name = $1 AND version = $2
