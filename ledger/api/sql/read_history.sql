-- Every event of a number, oldest first, after a position.
-- $1 phone_number text   $2 after position bigint   $3 limit bigint
SELECT position, version, sender, status, previous_status, occurred_at, recorded_at,
    source, matched_by, actor
FROM consent_history_v1
WHERE phone_number = $1 AND position > $2
ORDER BY position
LIMIT $3
