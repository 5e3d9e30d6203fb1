-- Who may ask, and the key that turns a phone number into a subject.

-- Only the SHA-256 of a key's secret is kept: the secret is 256 random bits, so it
-- cannot be guessed and needs no slow hash.
CREATE TABLE api_keys (
    name text CONSTRAINT api_keys_name_is_taken_once PRIMARY KEY,
    secret_sha256 bytea NOT NULL CONSTRAINT api_keys_secret_is_known_once UNIQUE,
    role text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    revoked_at timestamptz,
    CONSTRAINT api_keys_role_is_known
        CHECK (role IN ('reader', 'writer', 'auditor', 'admin'))
);

-- One row: the key of the HMAC that makes subject_id. Losing it loses the way from a
-- number to its history, so it lives and is backed up with the events.
CREATE TABLE identity_key (
    only_row boolean PRIMARY KEY DEFAULT true,
    secret bytea NOT NULL,
    CONSTRAINT identity_key_is_one_row CHECK (only_row),
    CONSTRAINT identity_key_is_256_bits CHECK (octet_length(secret) = 32)
);
CREATE TRIGGER identity_key_is_kept
    BEFORE UPDATE OR DELETE OR TRUNCATE ON identity_key
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
