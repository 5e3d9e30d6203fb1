-- All up to a position was pushed, or is noted as refused.
-- $1 account_sid text   $2 position bigint   $3 senders text[]
INSERT INTO consent_pushes (account_sid, position, senders) VALUES ($1, $2, $3)
ON CONFLICT (account_sid) DO UPDATE
    SET position = excluded.position, senders = excluded.senders
