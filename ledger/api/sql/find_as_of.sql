-- What held at a time for each sender of several subjects, by what was known at another:
-- for each sender the newest fact of before and the next one, and for all of them together
-- the next that says out. One row a sender, and at least one for each question, with nulls
-- where nothing was ever said. A subject that was erased has nothing but what the erasure
-- left. The first question's rows say how far the history has been read, where the ledger
-- stands and what time it is there.
--
-- Senders are found by one step of an index each, once for a subject that is asked for
-- several times; whatever a history's length, so is everything else. What a sender was told
-- last spares a step where there can be no next. Nothing is recorded before it occurs, so
-- nothing that occurred after known_at was known then: only facts that came late, and after
-- it, are passed over on the way.
-- $1 subject_ids uuid[]   $2 as_of timestamptz[]
-- $3 known_at timestamptz[], null for all that is known
WITH RECURSIVE asked AS MATERIALIZED (
    SELECT a.ordinal, a.subject_id, least(a.as_of, a.known_at) AS as_of,
        coalesce(a.known_at, 'infinity') AS known_at
    FROM unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[])
        WITH ORDINALITY AS a (subject_id, as_of, known_at, ordinal)
),
told (subject_id, sender, last_at, is_first) AS (
    SELECT a.subject_id, h.sender, h.occurred_at, true
    FROM (SELECT DISTINCT p.subject_id FROM asked AS p) AS a
    CROSS JOIN LATERAL (
        SELECT p.sender, p.occurred_at FROM consent_history_v1 AS p
        WHERE p.subject_id = a.subject_id
        ORDER BY p.sender DESC, p.occurred_at DESC LIMIT 1
    ) AS h
    UNION ALL
    SELECT t.subject_id, h.sender, h.occurred_at, false
    FROM told AS t
    CROSS JOIN LATERAL (
        SELECT p.sender, p.occurred_at FROM consent_history_v1 AS p
        WHERE p.subject_id = t.subject_id AND p.sender < t.sender
        ORDER BY p.sender DESC, p.occurred_at DESC LIMIT 1
    ) AS h
)
SELECT a.ordinal, e.position, e.status, e.since,
    c.reached, c.ledger_position, c.now,
    d.occurred_at, d.position, d.sender, d.status, d.recorded_at, d.source, d.matched_by,
    n.occurred_at, n.position, n.sender, n.status, n.recorded_at, n.source, n.matched_by,
    o.occurred_at, o.position, o.sender, o.status, o.recorded_at, o.source, o.matched_by
FROM asked AS a
LEFT JOIN (
    SELECT p.position AS reached, l.position AS ledger_position, clock_timestamp() AS now
    FROM ledger_position AS l
    JOIN projections AS p ON p.name || '_v' || p.version = 'consent_history_v1'
) AS c ON a.ordinal = 1
LEFT JOIN erased_subjects AS e ON e.subject_id = a.subject_id
LEFT JOIN told AS t ON t.subject_id = a.subject_id AND e.subject_id IS NULL
LEFT JOIN LATERAL (
    SELECT h.occurred_at, h.position, h.sender, h.status, h.recorded_at, h.source,
        h.matched_by
    FROM consent_history_v1 AS h
    WHERE h.subject_id = a.subject_id AND h.sender = t.sender
        AND h.occurred_at <= a.as_of AND h.recorded_at <= a.known_at
    ORDER BY h.occurred_at DESC, h.position DESC LIMIT 1
) AS d ON true
LEFT JOIN LATERAL (
    SELECT h.occurred_at, h.position, h.sender, h.status, h.recorded_at, h.source,
        h.matched_by
    FROM consent_history_v1 AS h
    WHERE t.last_at > a.as_of
        AND h.subject_id = a.subject_id AND h.sender = t.sender
        AND h.occurred_at > a.as_of AND h.occurred_at <= a.known_at
        AND h.recorded_at <= a.known_at
    ORDER BY h.occurred_at, h.position LIMIT 1
) AS n ON true
LEFT JOIN LATERAL (
    SELECT h.occurred_at, h.position, h.sender, h.status, h.recorded_at, h.source,
        h.matched_by
    FROM consent_history_v1 AS h
    WHERE t.is_first AND h.subject_id = a.subject_id AND h.status = 'out'
        AND h.occurred_at > a.as_of AND h.occurred_at <= a.known_at
        AND h.recorded_at <= a.known_at
    ORDER BY h.occurred_at, h.position LIMIT 1
) AS o ON true
