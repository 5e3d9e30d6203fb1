-- Which release first knew each kind of event, in each version: written by whoever starts
-- a release, read by an older one that meets such an event and must say what to start.
CREATE TABLE event_kinds (
    topic text NOT NULL,
    class_version integer NOT NULL,
    release text NOT NULL,
    noted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (topic, class_version),
    CONSTRAINT event_kinds_versions_start_at_one CHECK (class_version >= 1)
);
