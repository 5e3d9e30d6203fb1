-- How far a walk through Twilio's log of messages has come. It is there while a walk is
-- not finished, so that the next run goes on; what was recorded is in the ledger itself,
-- where it counts once, so that losing a row costs time alone.
CREATE TABLE twilio_walks (
    account_sid text NOT NULL,
    asked text NOT NULL,
    next_day date NOT NULL,
    PRIMARY KEY (account_sid, asked)
);

-- How far the ledger's state was pushed to Twilio's Consent API, which cannot be read.
CREATE TABLE consent_pushes (
    account_sid text PRIMARY KEY,
    position bigint NOT NULL,
    senders text[] NOT NULL
);

-- What Twilio was told last of a person and a sender, by the deciding event's version; or
-- that it would not take it, by Twilio's code: that is tried again.
CREATE TABLE pushed_consents (
    account_sid text NOT NULL,
    subject_id uuid NOT NULL,
    sender text NOT NULL,
    status text NOT NULL CHECK (status IN ('in', 'out')),
    version bigint NOT NULL,
    error_code integer,
    pushed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (account_sid, subject_id, sender)
);
CREATE INDEX pushed_consents_that_failed ON pushed_consents (account_sid)
    WHERE error_code IS NOT NULL;
