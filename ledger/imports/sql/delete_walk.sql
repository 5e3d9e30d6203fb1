-- A walk is finished: the next one begins anew.
-- $1 account_sid text   $2 asked text
DELETE FROM twilio_walks WHERE account_sid = $1 AND asked = $2
