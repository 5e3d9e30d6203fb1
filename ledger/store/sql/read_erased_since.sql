-- Who was erased after a position.
-- $1 after position bigint
SELECT subject_id FROM erased_subjects WHERE position > $1
