-- Every event of every number, with both times; evidence stays with the event.
CREATE TABLE consent_history_v1 (
    phone_number text COLLATE "C" NOT NULL,
    position bigint NOT NULL,
    version bigint NOT NULL,
    sender text NOT NULL,
    status text NOT NULL,
    previous_status text NOT NULL,
    occurred_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL,
    source text NOT NULL,
    matched_by text NOT NULL,
    actor text NOT NULL,
    PRIMARY KEY (phone_number, position),
    CONSTRAINT consent_history_nothing_is_recorded_before_it_occurs
        CHECK (occurred_at <= recorded_at)
);
