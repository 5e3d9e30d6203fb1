-- The slices whose rows are in the tables that are being built.
-- $1 projection text
SELECT slice FROM rebuilt_slices WHERE name = $1
