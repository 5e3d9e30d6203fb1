-- The days before one whose evidence is there still, in order.
-- $1 before name text
SELECT name FROM evidence_keys WHERE name < $1 ORDER BY name
