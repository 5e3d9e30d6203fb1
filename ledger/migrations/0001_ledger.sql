-- The ledger itself: events, the counter that gives their positions, what makes a signal
-- count once, and the keys that seal what is personal. Everything else can be built again
-- from these.

-- The table that the eventsourcing library defines for an application named Ledger, so
-- that a stock application reads it. notification_id is the position; it is a plain
-- bigint and not a bigserial, because a sequence gives numbers before the commit and so
-- lets a reader pass over one that becomes visible later.
CREATE TABLE ledger_events (
    originator_id uuid NOT NULL,
    originator_version bigint NOT NULL,
    topic text NOT NULL,
    state bytea NOT NULL,
    notification_id bigint NOT NULL,
    CONSTRAINT ledger_events_version_is_taken_once
        PRIMARY KEY (originator_id, originator_version),
    CONSTRAINT ledger_events_version_starts_at_one CHECK (originator_version >= 1)
);
CREATE UNIQUE INDEX ledger_events_notification_id_idx
    ON ledger_events (notification_id);

-- One row, locked by every append until it commits: appends are one after the other, so
-- positions are gapless and in commit order, and recorded_at never decreases whatever
-- the clock does. is_awaited says that somebody waits for the next one: to NOTIFY wakes
-- every process that listens, whatever for, and costs an append a fifth of its time.
CREATE TABLE ledger_position (
    only_row boolean PRIMARY KEY DEFAULT true,
    position bigint NOT NULL,
    recorded_at timestamptz NOT NULL,
    is_awaited boolean NOT NULL DEFAULT true,
    CONSTRAINT ledger_position_is_one_row CHECK (only_row)
) WITH (fillfactor = 10);
INSERT INTO ledger_position (position, recorded_at) VALUES (0, '-infinity');

-- signal_key is a keyed digest of the signal's key, which may hold a phone number.
CREATE TABLE signal_keys (
    signal_key uuid CONSTRAINT signal_keys_signal_counts_once PRIMARY KEY,
    position bigint NOT NULL
);

-- One data key a subject, wrapped by the master key of that id. A subject with events
-- and without a key has been erased; one with a key and without events has sent or been
-- sent texts, and said nothing of consent.
CREATE TABLE subject_keys (
    subject_id uuid CONSTRAINT subject_keys_subject_has_one PRIMARY KEY,
    wrapped_key bytea NOT NULL,
    master_key text NOT NULL
);

-- One secret a day in UTC, without which no evidence of that day opens.
CREATE TABLE evidence_keys (
    name text COLLATE "C" PRIMARY KEY,
    wrapped_key bytea NOT NULL,
    master_key text NOT NULL
);

-- What a subject under a legal hold keeps of a day whose secret was destroyed.
CREATE TABLE kept_evidence_keys (
    subject_id uuid NOT NULL,
    name text COLLATE "C" NOT NULL,
    wrapped_key bytea NOT NULL,
    master_key text NOT NULL,
    PRIMARY KEY (subject_id, name)
);

-- One row: the secret of the HMAC that makes subject_id. Losing it loses the way from a
-- number to its history, so it lives and is backed up with the events.
CREATE TABLE identity_key (
    only_row boolean PRIMARY KEY DEFAULT true,
    wrapped_key bytea NOT NULL,
    master_key text NOT NULL,
    CONSTRAINT identity_key_is_one_row CHECK (only_row)
);

-- What stays of an erased subject: the keyed HMAC that is its id, whether it was out for
-- any sender, since when, and where it was erased. The duty not to text outlives the
-- person's data.
CREATE TABLE erased_subjects (
    subject_id uuid PRIMARY KEY,
    status text NOT NULL,
    since timestamptz NOT NULL,
    position bigint NOT NULL,
    CONSTRAINT erased_subjects_status_is_known CHECK (status IN ('out', 'unknown'))
);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% on % is refused: the ledger is append-only', tg_op, tg_table_name
        USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER ledger_events_are_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER signal_keys_are_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON signal_keys
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER erased_subjects_are_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON erased_subjects
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER identity_key_is_kept
    BEFORE DELETE OR TRUNCATE ON identity_key
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER subject_keys_are_erased_one_by_one
    BEFORE TRUNCATE ON subject_keys
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER ledger_position_is_kept
    BEFORE DELETE OR TRUNCATE ON ledger_position
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- A time as events store it: UTC, microseconds, the form of Python's isoformat().
CREATE FUNCTION rfc3339_v1(at timestamptz) RETURNS bytea LANGUAGE sql STABLE AS $$
    SELECT convert_to(
        to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"'), 'UTF8')
$$;

-- Says that somebody waits, and where the ledger ends: who has read up to there may wait.
--
-- The counter's lock makes this come before an append or after it. What has been appended
-- before is in the position that comes back, and what is appended after it notifies. In a
-- ledger where nothing happens the row is written once. With the rights of the table's
-- owner, since who projects may only read here.
CREATE FUNCTION await_events_v1() RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
BEGIN
    UPDATE ledger_position AS p SET is_awaited = true
        WHERE p.only_row AND NOT p.is_awaited;
    RETURN (SELECT p.position FROM ledger_position AS p);
END
$$;

-- Appends a batch of entries in one round trip: one transaction, one commit, and a NOTIFY
-- if somebody waits.
--
-- It is a function because the lock must come first and each statement after it must
-- see what the previous holder of the lock committed. In READ COMMITTED every statement
-- of a plpgsql function takes its own snapshot; a single statement with the lock in a
-- CTE would have taken its snapshot before it waited.
--
-- An entry is what one signal has caused: its events go in together, one after the other,
-- or none does. streams[i], versions[i], topics[i], occurred[i], tails[i] are one event;
-- occurred[i] is null where it happened when it is recorded. The rest is the entry's, in
-- the row of its first event, and null in the others: keys[i] counts once; subjects[i] is
-- the person, data_keys[i] the wrapped key that is sealed with, null where nothing is.
-- new_keys[i] says that the key is to be stored, for somebody who has none and no event;
-- else it must be the one that is stored, and so must day_key, if it is given, for that
-- day: a process may remember a key that a failover has lost, and what is sealed with that
-- one would never be opened. subject_versions[i], if it is given, is how many events the
-- person's stream must have, though none may be added: what was decided by them, a text
-- that may be sent, is then still so. The stored state is
--   state_head || recorded at || state_middle || occurred at || tails[i]
-- so that both times are the database's own, written under the lock.
--
-- Where all are appended, one row says so, with the first one's position. Else each entry
-- gets its own outcome, and none fails its neighbours:
--   appended   its events are in the ledger from (position, recorded_at) on
--   duplicate  its key was there before, at position
--   conflict   a version is not the next of its stream, a subject's is not what it was,
--              or its keys are not those that are stored: decide again
--   future     it says that it happened later than now
--
-- Nearly every batch has nothing but new keys and next versions, so that is tried first,
-- as plain inserts that the unique constraints check; where one objects, what was
-- inserted is rolled back, the lock is kept, and the same is done entry by entry. An entry
-- was decided as if all before it of its streams and its person were recorded, so it fits
-- only if they are: behind one that is not (a repeat, one that is refused) its version
-- could still be the next, since another process has appended, or leave a gap.
--
-- The plans are fixed: no statistic makes one of these look-ups better as a scan.
CREATE FUNCTION append_events_v1(
    keys uuid[], streams uuid[], versions bigint[], topics text[],
    occurred timestamptz[], tails bytea[],
    subjects uuid[], subject_versions bigint[], data_keys bytea[], new_keys boolean[],
    master_key text, day text, day_key bytea,
    state_head bytea, state_middle bytea
) RETURNS TABLE (
    outcome text, event_position bigint, event_recorded_at timestamptz
)
LANGUAGE plpgsql
SET enable_seqscan = off
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    last_position bigint;
    now_recorded timestamptz;
    now_text bytea;
    is_awaited boolean;
    day_is_known boolean;
    appended bigint := 0;
    base bigint;
    rows constant integer := cardinality(keys);
    first integer := 1;
    last integer := cardinality(keys);
    is_whole boolean := true;
    spoilt uuid[] := '{}';
BEGIN
    SELECT p.position, greatest(clock_timestamp(), p.recorded_at), p.is_awaited
        INTO STRICT last_position, now_recorded, is_awaited
        FROM ledger_position AS p WHERE p.only_row FOR UPDATE;
    now_text := rfc3339_v1(now_recorded);
    day_is_known := day_key IS NULL OR EXISTS (
        SELECT FROM evidence_keys AS k WHERE k.name = day AND k.wrapped_key = day_key);

    WHILE first <= rows LOOP
        outcome := 'appended';
        event_position := NULL;
        IF NOT is_whole THEN
            last := first;
            WHILE last < rows AND keys[last + 1] IS NULL LOOP
                last := last + 1;
            END LOOP;
            SELECT k.position INTO event_position
                FROM signal_keys AS k WHERE k.signal_key = keys[first];
            IF FOUND THEN
                outcome := 'duplicate';
            ELSIF now_recorded < ANY (occurred[first:last]) THEN
                outcome := 'future';
            ELSIF spoilt && (subjects[first] || streams[first:last]) THEN
                outcome := 'conflict';
            END IF;
        END IF;
        base := last_position + appended;

        IF outcome = 'appended' THEN
        BEGIN
            -- An expression and no query: four times as fast, and false of nulls alone.
            IF now_recorded < ANY (occurred[first:last]) OR NOT day_is_known THEN
                RAISE unique_violation;
            END IF;

            INSERT INTO signal_keys (signal_key, position)
            SELECT p.key, base + p.ordinal
            FROM unnest(keys[first:last]) WITH ORDINALITY AS p (key, ordinal)
            WHERE p.key IS NOT NULL;

            IF true = ANY (new_keys[first:last]) THEN
                INSERT INTO subject_keys (subject_id, wrapped_key, master_key)
                SELECT p.subject, p.wrapped, append_events_v1.master_key
                FROM unnest(subjects[first:last], data_keys[first:last],
                    new_keys[first:last]) AS p (subject, wrapped, is_new)
                WHERE p.is_new;
                -- Who has events had a key: it was erased, or lost. Where the first of
                -- them is to be made, the constraint on versions says so.
                PERFORM FROM unnest(subjects[first:last], streams[first:last],
                    new_keys[first:last]) AS p (subject, stream, is_new)
                WHERE p.is_new AND p.stream <> p.subject AND EXISTS (
                    SELECT FROM ledger_events AS e
                    WHERE e.originator_id = p.subject AND e.originator_version = 1);
                IF FOUND THEN
                    RAISE unique_violation;
                END IF;
            END IF;

            INSERT INTO ledger_events
                (originator_id, originator_version, topic, state, notification_id)
            SELECT p.stream, p.version, p.topic,
                state_head || now_text || state_middle
                || CASE WHEN p.happened IS NULL THEN now_text
                    ELSE rfc3339_v1(p.happened) END
                || p.tail,
                base + p.ordinal
            FROM unnest(streams[first:last], versions[first:last], topics[first:last],
                occurred[first:last], tails[first:last]) WITH ORDINALITY
                AS p (stream, version, topic, happened, tail, ordinal);

            -- What no constraint objects to: a version left out or before its time,
            -- another key, a person whose stream has moved on or was set back.
            IF 1 < ANY (versions[first:last]) THEN
                PERFORM FROM unnest(streams[first:last], versions[first:last])
                    WITH ORDINALITY AS p (stream, version, ordinal)
                    WHERE p.version > 1 AND NOT EXISTS (
                        SELECT FROM ledger_events AS e
                        WHERE e.originator_id = p.stream
                            AND e.originator_version = p.version - 1
                            AND e.notification_id < base + p.ordinal);
                IF FOUND THEN
                    RAISE unique_violation;
                END IF;
            END IF;
            IF false = ANY (new_keys[first:last]) THEN
                PERFORM FROM unnest(subjects[first:last], data_keys[first:last],
                    new_keys[first:last]) AS p (subject, wrapped, is_new)
                    WHERE NOT p.is_new AND NOT EXISTS (
                        SELECT FROM subject_keys AS k
                        WHERE k.subject_id = p.subject AND k.wrapped_key = p.wrapped);
                IF FOUND THEN
                    RAISE unique_violation;
                END IF;
            END IF;
            IF 0 <= ANY (subject_versions[first:last]) THEN
                PERFORM FROM unnest(subjects[first:last], subject_versions[first:last])
                    WITH ORDINALITY AS p (subject, version, ordinal)
                    WHERE EXISTS (
                        SELECT FROM ledger_events AS e
                        WHERE e.originator_id = p.subject
                            AND e.originator_version = p.version + 1
                            AND e.notification_id < base + p.ordinal)
                    OR p.version > 0 AND NOT EXISTS (
                        SELECT FROM ledger_events AS e
                        WHERE e.originator_id = p.subject
                            AND e.originator_version = p.version
                            AND e.notification_id < base + p.ordinal);
                IF FOUND THEN
                    RAISE unique_violation;
                END IF;
            END IF;
        EXCEPTION WHEN unique_violation THEN
            outcome := 'conflict';
        END;
        END IF;

        IF outcome = 'appended' THEN
            event_position := base + 1;
            event_recorded_at := now_recorded;
            appended := appended + last - first + 1;
        ELSE
            event_recorded_at := NULL;
            spoilt := spoilt || subjects[first] || streams[first:last];
        END IF;
        IF NOT is_whole THEN
            RETURN NEXT;
            first := last + 1;
        ELSIF outcome = 'appended' THEN
            outcome := 'all appended';
            RETURN NEXT;
            first := rows + 1;
        ELSE
            is_whole := false;
            spoilt := '{}';
        END IF;
    END LOOP;

    IF appended > 0 THEN
        UPDATE ledger_position AS p
            SET position = last_position + appended, recorded_at = now_recorded,
                is_awaited = false
            WHERE p.only_row;
        IF is_awaited THEN
            PERFORM pg_notify('ledger_events', (last_position + appended)::text);
        END IF;
    END IF;
END
$$;

-- Erases a subject in one transaction: appends the event that says so, destroys its key,
-- leaves what says whether it may be texted, and has every projection drop its rows by
-- the function <name>_v<version>_erase that each one brings. Nothing comes back where the
-- subject is not at that version any more, or where a text to it was asked for after the
-- position up to which texts were canceled: look again.
--
-- With the rights of the tables' owner: who serves may erase a subject in this way, and
-- may not delete a key in any other.
CREATE FUNCTION erase_subject_v1(
    erased uuid, expected_version bigint, texts_known_to bigint,
    erased_status text, erased_since timestamptz, topic text, tail bytea,
    state_head bytea, state_middle bytea
) RETURNS TABLE (event_position bigint, event_recorded_at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
    next_position bigint;
    now_recorded timestamptz;
    now_text bytea;
    projection record;
BEGIN
    SELECT p.position + 1, greatest(clock_timestamp(), p.recorded_at)
        INTO STRICT next_position, now_recorded
        FROM ledger_position AS p WHERE p.only_row FOR UPDATE;
    IF expected_version <> (
        SELECT coalesce(max(e.originator_version), 0) FROM ledger_events AS e
        WHERE e.originator_id = erased
    ) OR NOT EXISTS (
        SELECT FROM subject_keys AS k WHERE k.subject_id = erased
    ) OR EXISTS (
        -- A text that was asked for since may be scheduled; by the index of migration 7.
        SELECT FROM ledger_events AS e
        WHERE e.originator_version = 1
            AND e.topic = 'ledger.domain.events:MessageRequested'
            AND substring(e.state FROM 214 FOR 32)
                = convert_to(replace(erased::text, '-', ''), 'UTF8')
            AND e.notification_id > texts_known_to
    ) THEN
        RETURN;
    END IF;
    now_text := rfc3339_v1(now_recorded);
    INSERT INTO ledger_events
        (originator_id, originator_version, topic, state, notification_id)
    VALUES (erased, expected_version + 1, erase_subject_v1.topic,
        state_head || now_text || state_middle || now_text || tail, next_position);
    DELETE FROM subject_keys AS k WHERE k.subject_id = erased;
    DELETE FROM kept_evidence_keys AS k WHERE k.subject_id = erased;
    INSERT INTO erased_subjects (subject_id, status, since, position)
    VALUES (erased, erased_status, coalesce(erased_since, now_recorded), next_position);
    FOR projection IN SELECT p.name, p.version FROM projections AS p LOOP
        EXECUTE format('SELECT %I(%L)',
            projection.name || '_v' || projection.version || '_erase', erased);
    END LOOP;
    UPDATE ledger_position AS p
        SET position = next_position, recorded_at = now_recorded WHERE p.only_row;
    PERFORM pg_notify('ledger_events', next_position::text);
    RETURN QUERY SELECT next_position, now_recorded;
END
$$;
