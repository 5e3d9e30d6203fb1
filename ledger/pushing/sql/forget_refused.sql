-- What Twilio would not take and is not to be told any more.
-- $1 account_sid text   $2 subject_ids uuid[]   $3 senders text[]
DELETE FROM pushed_consents AS p
USING unnest($2::uuid[], $3::text[]) AS gone (subject_id, sender)
WHERE p.account_sid = $1 AND p.subject_id = gone.subject_id AND p.sender = gone.sender
    AND p.error_code IS NOT NULL
