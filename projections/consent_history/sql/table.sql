-- Every consent event of every subject, with both times; what is personal stays with the
-- event.
CREATE TABLE consent_history_v1 (
    subject_id uuid NOT NULL,
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
    PRIMARY KEY (subject_id, position),
    CONSTRAINT consent_history_nothing_is_recorded_before_it_occurs
        CHECK (occurred_at <= recorded_at)
);

-- What an erasure calls, in its own transaction.
CREATE FUNCTION consent_history_v1_erase(subject uuid) RETURNS void
LANGUAGE sql AS $$
    DELETE FROM consent_history_v1 AS h WHERE h.subject_id = subject;
$$;
