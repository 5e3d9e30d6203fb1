-- A day is done: a walk that ends now goes on with the next one. Of two at once, which do
-- no harm, the one that is behind counts.
-- $1 account_sid text   $2 asked text   $3 next_day date
INSERT INTO twilio_walks (account_sid, asked, next_day) VALUES ($1, $2, $3)
ON CONFLICT (account_sid, asked) DO UPDATE SET next_day = excluded.next_day
