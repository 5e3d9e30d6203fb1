-- Who may ask.

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
