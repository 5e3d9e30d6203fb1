-- Gives a new ledger the secret of its subject ids; the first one stays, and one with
-- events gets no other.
-- $1 wrapped key bytea   $2 master key text
INSERT INTO identity_key (wrapped_key, master_key)
SELECT $1, $2 FROM ledger_position WHERE position = 0
ON CONFLICT DO NOTHING
