-- The events of a subject that occurred after one, in the order of their occurring, of
-- those that were known at a time: a page of them.
-- $1 subject_id uuid   $2 after occurred_at timestamptz   $3 after position bigint
-- $4 known_at timestamptz   $5 limit bigint   $6 senders text[]
SELECT h.sender, h.status, h.occurred_at, h.recorded_at, h.position, h.version, h.source,
    h.matched_by
FROM unnest($6::text[]) AS s (sender),
LATERAL (
    SELECT * FROM consent_history_v1 AS p
    WHERE p.subject_id = $1 AND p.sender = s.sender
        AND (p.occurred_at, p.position) > ($2::timestamptz, $3::bigint)
        AND p.recorded_at <= $4
    ORDER BY p.occurred_at, p.position LIMIT $5
) AS h
ORDER BY h.occurred_at, h.position
LIMIT $5
