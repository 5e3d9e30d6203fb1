-- Begin at the ledger's end, the first time.
-- $1 channel text
INSERT INTO notice_channels (channel, position, saved_at)
SELECT $1, position, clock_timestamp() FROM ledger_position
ON CONFLICT (channel) DO NOTHING
