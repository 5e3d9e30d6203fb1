-- Every text, in and out, and what became of it; no bodies, which stay sealed in the events.

-- position and occurred_at are of the text's first event, version and updated_at of its
-- newest; status and error_code are of whatever is furthest. create_indexes.sql has the
-- indexes of which lists are ranges. Nothing that changes is in an index, so a change of
-- status writes no index, where the page has room.
CREATE TABLE messages_v1 (
    message_id uuid PRIMARY KEY,
    subject_id uuid NOT NULL,
    phone_number text COLLATE "C" NOT NULL,
    sid text COLLATE "C",
    direction text NOT NULL,
    sender text COLLATE "C",
    address text COLLATE "C",
    status text NOT NULL,
    error_code integer,
    send_at timestamptz,
    position bigint NOT NULL,
    version bigint NOT NULL,
    occurred_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT messages_direction_is_known CHECK (direction IN ('incoming', 'outgoing'))
) WITH (fillfactor = 85);

-- For an erasure, which must not read the whole table.
CREATE INDEX messages_v1_by_subject ON messages_v1 (subject_id);

-- No sample of numbers in the planner's statistics: it would outlive an erasure.
ALTER TABLE messages_v1 ALTER COLUMN phone_number SET STATISTICS 0;
ALTER TABLE messages_v1 ALTER COLUMN sid SET STATISTICS 0;

-- What an erasure calls, in its own transaction.
CREATE FUNCTION messages_v1_erase(subject uuid) RETURNS void
LANGUAGE sql AS $$
    DELETE FROM messages_v1 AS m WHERE m.subject_id = subject;
$$;
