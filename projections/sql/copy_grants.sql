-- Gives a new table or function the rights that the old one has.
-- $1 source text   $2 target text
SELECT copy_grants_v1($1, $2)
