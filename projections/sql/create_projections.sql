-- Where each projection stands. One row a projection and version.
-- seen_at is when its worker last said that it runs; stopped_reason is set where it
-- cannot apply the event after position.
CREATE TABLE IF NOT EXISTS projections (
    name text NOT NULL,
    version integer NOT NULL,
    position bigint NOT NULL DEFAULT 0,
    seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    stopped_reason text,
    PRIMARY KEY (name, version),
    CONSTRAINT projections_position_is_a_position CHECK (position >= 0)
) WITH (fillfactor = 50)
