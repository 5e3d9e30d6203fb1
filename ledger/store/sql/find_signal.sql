-- Where a signal was recorded; nothing comes back if it never was.
-- $1 key uuid
SELECT position FROM signal_keys WHERE signal_key = $1
