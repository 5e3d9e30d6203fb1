-- Of whom Twilio would not take something.
-- $1 account_sid text
SELECT DISTINCT subject_id FROM pushed_consents
WHERE account_sid = $1 AND error_code IS NOT NULL
