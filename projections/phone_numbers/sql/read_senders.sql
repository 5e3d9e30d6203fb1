-- The deciding facts of the subjects that a batch touches, and whose they are.
-- $1 subject_ids uuid[]
SELECT s.subject_id, s.phone_number, s.sender, s.status, s.since, s.position, s.version
FROM unnest($1::uuid[]) AS touched (subject_id),
LATERAL (
    SELECT * FROM phone_number_senders_v1 AS p
    WHERE p.subject_id = touched.subject_id
) AS s
