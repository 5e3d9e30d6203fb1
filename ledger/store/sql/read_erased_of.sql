-- Where subjects were erased, of some.
-- $1 subjects uuid[]
SELECT subject_id, position FROM erased_subjects WHERE subject_id = ANY ($1::uuid[])
