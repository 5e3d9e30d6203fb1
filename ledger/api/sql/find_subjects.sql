-- The records of several subjects, one row a sender; at least one row for each subject,
-- with nulls where it was never seen. Of one that was erased nothing counts but what
-- the erasure left, though a projector that is behind may have rows of it.
-- $1 subject_ids uuid[]
SELECT wanted.subject_id, e.position, e.status, e.since,
    n.phone_number, n.status, n.since, n.position, n.version,
    s.sender, s.status, s.since, s.position
FROM unnest($1::uuid[]) AS wanted (subject_id)
LEFT JOIN LATERAL (
    SELECT * FROM erased_subjects AS p WHERE p.subject_id = wanted.subject_id
) AS e ON true
LEFT JOIN LATERAL (
    SELECT * FROM phone_numbers_v1 AS p
    WHERE p.subject_id = wanted.subject_id AND e.subject_id IS NULL
) AS n ON true
LEFT JOIN LATERAL (
    SELECT * FROM phone_number_senders_v1 AS p
    WHERE p.subject_id = n.subject_id ORDER BY p.sender
) AS s ON true
