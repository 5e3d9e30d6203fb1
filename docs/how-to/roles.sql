-- The roles of a production database. Run it as the owner of the tables, who may also
-- create roles, after every `consent-ledger migrate`; it is safe to run again.

DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['ledger_web', 'ledger_projector', 'ledger_auditor']
    LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            EXECUTE format('CREATE ROLE %I LOGIN', wanted);
        END IF;
    END LOOP;
END
$$;

-- Nobody calls our functions, or reads a table, unless it is said here.
REVOKE ALL ON ALL TABLES IN SCHEMA public FROM PUBLIC;
REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA public FROM PUBLIC;

-- The web processes append, move the counter, and read.
GRANT SELECT, INSERT ON ledger_events, signal_keys TO ledger_web;
GRANT SELECT, UPDATE ON ledger_position TO ledger_web;
GRANT EXECUTE ON FUNCTION append_events_v1, rfc3339_v1 TO ledger_web;
GRANT SELECT, INSERT ON event_kinds TO ledger_web;
GRANT SELECT ON erased_subjects, api_keys, schema_migrations, projections,
    projection_pointers, rebuilds, rebuilt_slices TO ledger_web;

-- An operator's commands note how far they have come with Twilio.
GRANT SELECT, INSERT, UPDATE, DELETE ON twilio_walks, consent_pushes, pushed_consents
    TO ledger_web;

-- One of them sees to what sending has left open.
GRANT SELECT, UPDATE ON sending_checkpoint TO ledger_web;
GRANT SELECT ON sending_checkpoint TO ledger_projector;

-- One of them tells others of changes, and notes how far it has come.
GRANT SELECT, INSERT, UPDATE ON notice_channels TO ledger_web;
GRANT SELECT ON notice_channels TO ledger_projector;

-- They make keys, and may destroy one only by erasing its subject: the function runs
-- with the owner's rights, appends the event that says so, and does both or neither.
GRANT SELECT, INSERT ON identity_key, subject_keys, evidence_keys TO ledger_web;
GRANT SELECT ON kept_evidence_keys TO ledger_web;
GRANT EXECUTE ON FUNCTION erase_subject_v1 TO ledger_web;

-- The projector reads the ledger, opens numbers and not evidence, and writes its own
-- tables, from which it deletes who was erased.
GRANT SELECT ON ledger_events, ledger_position, schema_migrations TO ledger_projector;
GRANT EXECUTE ON FUNCTION await_events_v1 TO ledger_projector;
GRANT SELECT, INSERT ON event_kinds TO ledger_projector;
GRANT SELECT ON identity_key, subject_keys, erased_subjects TO ledger_projector;
GRANT SELECT ON projection_pointers, rebuilds, rebuilt_slices TO ledger_projector;
GRANT SELECT, UPDATE (position, seen_at, stopped_reason) ON projections
    TO ledger_projector;
GRANT SELECT, INSERT, UPDATE ON projection_digests TO ledger_projector;

-- Of every version that there is of the projections' tables. The history is only added to.
DO $$
DECLARE
    made record;
BEGIN
    FOR made IN
        SELECT c.oid::regclass AS name, c.relname LIKE 'consent_history%' AS is_history
        FROM pg_class AS c
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
            AND c.relname ~ '^(phone_numbers|phone_number_senders|consent_history|messages)_v\d+$'
    LOOP
        EXECUTE format('GRANT SELECT ON %s TO ledger_web', made.name);
        EXECUTE format('GRANT SELECT, INSERT, DELETE ON %s TO ledger_projector', made.name);
        IF NOT made.is_history THEN
            EXECUTE format('GRANT UPDATE ON %s TO ledger_projector', made.name);
        END IF;
    END LOOP;
    FOR made IN
        SELECT p.oid::regprocedure AS name FROM pg_proc AS p
        WHERE p.pronamespace = 'public'::regnamespace
            AND p.proname ~ '^(phone_numbers|consent_history|messages)_v\d+_erase$'
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO ledger_projector', made.name);
    END LOOP;
END
$$;

-- An auditor's own tools read the ledger, without its people: no table of keys, since a
-- copy of a key would outlast an erasure. The API opens evidence for the role auditor.
GRANT SELECT ON ledger_events TO ledger_auditor;
