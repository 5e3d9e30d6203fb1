-- How far a walk through Twilio's log of messages has come. It is there while a walk is
-- not finished, so that the next run goes on; what was recorded is in the ledger itself,
-- where it counts once, so that losing a row costs time alone.
CREATE TABLE twilio_walks (
    account_sid text NOT NULL,
    asked text NOT NULL,
    next_day date NOT NULL,
    PRIMARY KEY (account_sid, asked)
);
