-- Where signals were recorded, of those that were.
-- $1 keys uuid[]
SELECT signal_key, position FROM signal_keys WHERE signal_key = ANY ($1::uuid[])
