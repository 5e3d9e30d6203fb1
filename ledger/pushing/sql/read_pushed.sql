-- What Twilio was told last of some people.
-- $1 account_sid text   $2 subject_ids uuid[]
SELECT subject_id, sender, status, version, error_code
FROM pushed_consents WHERE account_sid = $1 AND subject_id = ANY ($2::uuid[])
