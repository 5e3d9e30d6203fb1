-- What each number says now: overall, and per sender. Built from events alone.

-- since and position name two events: since is when the deciding event occurred,
-- position and version are those of the subject's newest event, updated_at when that
-- was recorded. A number is here once for each of its subjects; but for the moment in
-- which a projector that is behind passes an erasure, only one of them has rows.
-- create_indexes.sql has the indexes of which lists are ranges.
CREATE TABLE phone_numbers_v1 (
    subject_id uuid PRIMARY KEY,
    phone_number text COLLATE "C" NOT NULL,
    status text NOT NULL,
    since timestamptz NOT NULL,
    position bigint NOT NULL,
    version bigint NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT phone_numbers_status_is_known
        CHECK (status IN ('in', 'out', 'unknown'))
);

-- status, since and position are of the event that decides for the sender: the newest
-- addressed to it or to '*'. What was in and has lapsed is unknown, with the place that it
-- had; the lapse itself is a row without a sender (''). The number is here again because
-- the list of a sender is a range of numbers.
CREATE TABLE phone_number_senders_v1 (
    subject_id uuid NOT NULL,
    phone_number text COLLATE "C" NOT NULL,
    sender text COLLATE "C" NOT NULL,
    status text NOT NULL,
    since timestamptz NOT NULL,
    position bigint NOT NULL,
    version bigint NOT NULL,
    PRIMARY KEY (subject_id, sender),
    CONSTRAINT phone_number_senders_status_is_known
        CHECK (status IN ('in', 'out', 'unknown'))
);

-- No sample of numbers in the planner's statistics: it would outlive an erasure.
ALTER TABLE phone_numbers_v1 ALTER COLUMN phone_number SET STATISTICS 0;
ALTER TABLE phone_number_senders_v1 ALTER COLUMN phone_number SET STATISTICS 0;

-- What an erasure calls, in its own transaction.
CREATE FUNCTION phone_numbers_v1_erase(subject uuid) RETURNS void
LANGUAGE sql AS $$
    DELETE FROM phone_number_senders_v1 AS s WHERE s.subject_id = subject;
    DELETE FROM phone_numbers_v1 AS n WHERE n.subject_id = subject;
$$;
