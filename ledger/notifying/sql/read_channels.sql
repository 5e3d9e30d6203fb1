-- Where every channel stands, and how many events it has still to look at.
-- $1 channels that are set text[]
SELECT c.channel, c.position, greatest(0, l.position - c.position) AS lag_events,
    c.failing_since, c.failed_reason, c.channel = ANY ($1::text[]) AS is_set
FROM notice_channels AS c, ledger_position AS l
ORDER BY c.channel
