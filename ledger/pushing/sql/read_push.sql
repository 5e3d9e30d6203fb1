-- How far an account's pushes have come, and for which senders.
-- $1 account_sid text
SELECT position, senders FROM consent_pushes WHERE account_sid = $1
