-- Destroys the secrets of the days before one; says which.
-- $1 before name text
DELETE FROM evidence_keys WHERE name < $1 RETURNING name
