-- Which version of a projection's tables answers, and those that are being built.

-- Where each version of each projection stands: one row for each that is kept up to date.
-- seen_at is when its worker last said that it runs; stopped_reason is set where it
-- cannot apply the event after position; shape says which columns its tables have, of
-- those that releases have known.
CREATE TABLE IF NOT EXISTS projections (
    name text NOT NULL,
    version integer NOT NULL,
    position bigint NOT NULL DEFAULT 0,
    seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    stopped_reason text,
    PRIMARY KEY (name, version),
    CONSTRAINT projections_position_is_a_position CHECK (position >= 0)
) WITH (fillfactor = 50);
ALTER TABLE projections ADD COLUMN shape integer NOT NULL DEFAULT 1;

-- The version that answers. A switch is one UPDATE of one row. version_last is the newest
-- that there ever was: a number is not given twice, or who remembers one that was dropped
-- could read another that is half built.
CREATE TABLE projection_pointers (
    name text CONSTRAINT projection_pointers_one_version_serves PRIMARY KEY,
    version integer NOT NULL,
    version_last integer NOT NULL,
    CONSTRAINT projection_pointers_name_what_is_kept_up_to_date
        FOREIGN KEY (name, version) REFERENCES projections (name, version)
);
INSERT INTO projection_pointers (name, version, version_last)
SELECT p.name, max(p.version), max(p.version) FROM projections AS p GROUP BY p.name;

-- A version that is being built beside the one that answers: from the events up to
-- frontier, in so many slices of subjects.
CREATE TABLE rebuilds (
    name text CONSTRAINT rebuilds_one_at_a_time PRIMARY KEY,
    version integer NOT NULL,
    shape integer NOT NULL,
    frontier bigint NOT NULL,
    slices integer NOT NULL,
    phase text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT rebuilds_phase_is_known
        CHECK (phase IN ('filling', 'indexing', 'catching up', 'compared', 'cancelled'))
);

-- The slices whose rows are in the tables, written with those rows.
CREATE TABLE rebuilt_slices (
    name text NOT NULL REFERENCES rebuilds (name) ON DELETE CASCADE,
    slice integer NOT NULL,
    events bigint NOT NULL,
    CONSTRAINT rebuilt_slices_each_once PRIMARY KEY (name, slice)
);

-- As in migration 1, and from the tables that are being built as well.
CREATE OR REPLACE FUNCTION erase_subject_v1(
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
    -- No version goes away, and none comes to be indexed, until this is committed. Who
    -- makes an index would hold this up, and with it every append: there the
    -- tail deletes the rows, and what was cancelled is dropped with them.
    PERFORM FROM rebuilds FOR SHARE;
    PERFORM FROM projections FOR KEY SHARE;
    FOR projection IN
        SELECT p.name, p.version FROM projections AS p
        UNION SELECT r.name, r.version FROM rebuilds AS r
        WHERE r.phase NOT IN ('indexing', 'cancelled')
    LOOP
        EXECUTE format('SELECT %I(%L)',
            projection.name || '_v' || projection.version || '_erase', erased);
    END LOOP;
    UPDATE ledger_position AS p
        SET position = next_position, recorded_at = now_recorded WHERE p.only_row;
    PERFORM pg_notify('ledger_events', next_position::text);
    RETURN QUERY SELECT next_position, now_recorded;
END
$$;

-- Gives one relation the rights that another has: a new version's tables and function
-- are used by whom the old ones are.
CREATE FUNCTION copy_grants_v1(source text, target text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    given record;
BEGIN
    FOR given IN
        SELECT a.privilege_type AS privilege, a.grantee, r.rolname
        FROM pg_class AS c
        CROSS JOIN LATERAL aclexplode(c.relacl) AS a
        LEFT JOIN pg_roles AS r ON r.oid = a.grantee
        WHERE c.oid = to_regclass(source) AND a.grantee <> c.relowner
    LOOP
        EXECUTE format('GRANT %s ON %I TO %s', given.privilege, target,
            CASE WHEN given.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(given.rolname) END);
    END LOOP;
    FOR given IN
        SELECT p.oid::regprocedure AS function, a.grantee, r.rolname
        FROM pg_proc AS s
        JOIN pg_proc AS p ON p.proname = target
        CROSS JOIN LATERAL aclexplode(s.proacl) AS a
        LEFT JOIN pg_roles AS r ON r.oid = a.grantee
        WHERE s.proname = source
    LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', given.function);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %s', given.function,
            CASE WHEN given.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(given.rolname) END);
    END LOOP;
END
$$;
