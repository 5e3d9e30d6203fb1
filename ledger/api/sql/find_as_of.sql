-- What held at a time for each sender of several subjects, by what was known at another:
-- for each, the newest fact of before, the next one, and the next that says out. One row a
-- sender, and at least one for each question, with nulls where nothing was ever said. A subject that was
-- erased has nothing but what the erasure left.
--
-- The senders are found by one step of the index each; whatever a history's length, so
-- is what held. Only facts that came late and after known_at are passed over on the way.
-- Nothing is recorded before it occurs, so as_of need never be later than known_at.
-- $1 subject_ids uuid[]   $2 as_of timestamptz[]   $3 known_at timestamptz[]
SELECT asked.ordinal, c.position AS reached, l.position AS ledger_position,
    clock_timestamp() AS now,
    e.position AS erased_at, e.status AS left_status, e.since AS left_since,
    s.sender,
    d.status, d.occurred_at, d.recorded_at, d.position, d.version, d.source, d.matched_by,
    n.status, n.occurred_at, n.recorded_at, n.position, n.version, n.source, n.matched_by,
    o.status, o.occurred_at, o.recorded_at, o.position, o.version, o.source, o.matched_by
FROM unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[])
    WITH ORDINALITY AS asked (subject_id, as_of, known_at, ordinal)
CROSS JOIN ledger_position AS l
CROSS JOIN (
    SELECT p.position FROM projections AS p
    WHERE p.name || '_v' || p.version = 'consent_history_v1'
) AS c
LEFT JOIN LATERAL (
    SELECT * FROM erased_subjects AS p WHERE p.subject_id = asked.subject_id
) AS e ON true
LEFT JOIN LATERAL (
    WITH RECURSIVE steps (sender) AS (
        (
            SELECT h.sender FROM consent_history_v1 AS h
            WHERE h.subject_id = asked.subject_id ORDER BY h.sender LIMIT 1
        )
        UNION ALL
        SELECT (
            SELECT h.sender FROM consent_history_v1 AS h
            WHERE h.subject_id = asked.subject_id AND h.sender > p.sender
            ORDER BY h.sender LIMIT 1
        )
        FROM steps AS p WHERE p.sender IS NOT NULL
    )
    SELECT p.sender FROM steps AS p WHERE p.sender IS NOT NULL AND e.subject_id IS NULL
) AS s ON true
LEFT JOIN LATERAL (
    SELECT * FROM consent_history_v1 AS h
    WHERE h.subject_id = asked.subject_id AND h.sender = s.sender
        AND h.occurred_at <= asked.as_of AND h.recorded_at <= asked.known_at
    ORDER BY h.occurred_at DESC, h.position DESC LIMIT 1
) AS d ON true
LEFT JOIN LATERAL (
    SELECT * FROM consent_history_v1 AS h
    WHERE h.subject_id = asked.subject_id AND h.sender = s.sender
        AND h.occurred_at > asked.as_of AND h.recorded_at <= asked.known_at
    ORDER BY h.occurred_at, h.position LIMIT 1
) AS n ON true
LEFT JOIN LATERAL (
    SELECT * FROM consent_history_v1 AS h
    WHERE n.status = 'in'
        AND h.subject_id = asked.subject_id AND h.sender = s.sender
        AND h.occurred_at > asked.as_of AND h.recorded_at <= asked.known_at
        AND h.status = 'out'
    ORDER BY h.occurred_at, h.position LIMIT 1
) AS o ON true
