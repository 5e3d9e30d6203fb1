-- What several subjects say now to each sender, a row each, and a row for each subject
-- that was erased, with what the erasure left: nothing else of that one counts, though a
-- projector that is behind may have rows of it. None of who has said nothing.
-- $1 subject_ids uuid[]
SELECT s.subject_id, s.sender, s.status, s.since, s.position
FROM phone_number_senders_v1 AS s WHERE s.subject_id = ANY($1::uuid[])
UNION ALL
SELECT e.subject_id, null, e.status, e.since, e.position
FROM erased_subjects AS e WHERE e.subject_id = ANY($1)
