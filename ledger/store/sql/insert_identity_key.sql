-- Gives a new ledger the secret of its subject ids; the first one stays.
-- $1 secret bytea, 32 random bytes
INSERT INTO identity_key (secret) VALUES ($1) ON CONFLICT DO NOTHING
