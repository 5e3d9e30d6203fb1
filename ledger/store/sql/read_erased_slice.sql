-- What stays of the erased among a range of subjects, but since when.
-- $1 first subject uuid   $2 last subject uuid
SELECT subject_id, status, position FROM erased_subjects
WHERE subject_id BETWEEN $1 AND $2
