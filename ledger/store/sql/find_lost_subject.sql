-- One of the subjects that was not erased, though it may have no key; null where all were.
-- $1 subjects uuid[]
SELECT wanted.subject_id FROM unnest($1::uuid[]) AS wanted (subject_id)
WHERE NOT EXISTS (
    SELECT FROM erased_subjects AS e WHERE e.subject_id = wanted.subject_id)
LIMIT 1
