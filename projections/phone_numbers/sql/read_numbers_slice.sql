-- What a range of subjects says now.
-- $1 first subject uuid   $2 last subject uuid
SELECT subject_id, phone_number, status, since, position, version, updated_at
FROM phone_numbers_v1
WHERE subject_id BETWEEN $1 AND $2
