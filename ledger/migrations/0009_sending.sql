-- Up to where every text that was asked for is done with: sent, refused or past. What is
-- open is found by reading the ledger from here, so that nothing of it is kept twice.
CREATE TABLE sending_checkpoint (
    only_row boolean PRIMARY KEY DEFAULT true,
    position bigint NOT NULL,
    saved_at timestamptz NOT NULL,
    CONSTRAINT sending_checkpoint_is_one_row CHECK (only_row)
);
INSERT INTO sending_checkpoint (position, saved_at) VALUES (0, clock_timestamp());

-- The texts that were asked for, by when, for whoever counts those that are open.
CREATE INDEX ledger_events_requested_idx ON ledger_events (notification_id)
    WHERE topic = 'ledger.domain.events:MessageRequested';
