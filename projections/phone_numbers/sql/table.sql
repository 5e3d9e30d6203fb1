-- What each number says now: overall, and per sender. Built from events alone.

-- since and position name two events: since is when the deciding event occurred,
-- position and version are those of the number's newest event, updated_at when that
-- was recorded. create_indexes.sql has the indexes of which lists
-- are ranges.
CREATE TABLE phone_numbers_v1 (
    phone_number text COLLATE "C" PRIMARY KEY,
    status text NOT NULL,
    since timestamptz NOT NULL,
    position bigint NOT NULL,
    version bigint NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT phone_numbers_status_is_known CHECK (status IN ('in', 'out'))
);

-- status, since and position are of the event that decides for the sender: the newest
-- addressed to it or to '*'.
CREATE TABLE phone_number_senders_v1 (
    phone_number text COLLATE "C" NOT NULL,
    sender text COLLATE "C" NOT NULL,
    status text NOT NULL,
    since timestamptz NOT NULL,
    position bigint NOT NULL,
    version bigint NOT NULL,
    PRIMARY KEY (phone_number, sender),
    CONSTRAINT phone_number_senders_status_is_known CHECK (status IN ('in', 'out'))
);
