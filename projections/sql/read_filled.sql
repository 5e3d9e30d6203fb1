-- Whether a slice's rows are in the tables that are being built.
-- $1 projection text   $2 slice integer
SELECT EXISTS (SELECT FROM rebuilt_slices AS s WHERE s.name = $1 AND s.slice = $2)
