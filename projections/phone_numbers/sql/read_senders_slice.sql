-- The deciding facts of a range of subjects.
-- $1 first subject uuid   $2 last subject uuid
SELECT subject_id, sender, phone_number, status, since, position, version
FROM phone_number_senders_v1
WHERE subject_id BETWEEN $1 AND $2
