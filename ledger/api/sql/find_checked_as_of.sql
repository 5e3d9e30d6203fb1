-- What several subjects said at a time to each sender, of what was known at another and
-- stands up to a position: rows as those of find_checked.sql. Most people have said little
-- in all, and to read that costs half of what a step of the index for each sender does. A
-- subject that has said more has a row without a status: find_checked_by_steps.sql is for
-- those. Whoever has more than 32 events has, among any 33, one of a version above 32.
-- $1 subject_ids uuid[]   $2 as_of timestamptz   $3 known_at timestamptz
-- $4 position bigint
SELECT wanted.subject_id, h.sender, h.status, h.occurred_at, h.position
FROM unnest($1::uuid[]) AS wanted (subject_id)
CROSS JOIN LATERAL (
    SELECT DISTINCT ON (few.sender, few.version > 32) few.sender,
        CASE WHEN few.version <= 32 THEN few.status END AS status,
        few.occurred_at, few.position
    FROM (
        SELECT p.* FROM consent_history_v1 AS p
        WHERE p.subject_id = wanted.subject_id
        ORDER BY p.sender DESC, p.occurred_at DESC, p.position DESC LIMIT 33
    ) AS few
    WHERE few.version > 32
        OR few.occurred_at <= $2 AND few.recorded_at <= $3 AND few.position <= $4
    ORDER BY few.sender DESC, few.version > 32, few.occurred_at DESC, few.position DESC
) AS h
UNION ALL
SELECT e.subject_id, null, e.status, e.since, e.position
FROM erased_subjects AS e WHERE e.subject_id = ANY($1)
