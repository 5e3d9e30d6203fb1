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
GRANT SELECT ON identity_key, api_keys, schema_migrations, projections,
    phone_numbers_v1, phone_number_senders_v1, consent_history_v1 TO ledger_web;

-- The projector reads the ledger and writes its own tables.
GRANT SELECT ON ledger_events, ledger_position, schema_migrations TO ledger_projector;
GRANT SELECT, UPDATE ON projections TO ledger_projector;
GRANT SELECT, INSERT, UPDATE ON phone_numbers_v1, phone_number_senders_v1
    TO ledger_projector;
GRANT INSERT ON consent_history_v1 TO ledger_projector;

-- An auditor's own tools read the ledger.
GRANT SELECT ON ledger_events TO ledger_auditor;
