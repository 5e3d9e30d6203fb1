-- From which day an unfinished walk goes on.
-- $1 account_sid text   $2 asked text
SELECT next_day FROM twilio_walks WHERE account_sid = $1 AND asked = $2
