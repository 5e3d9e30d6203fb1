-- Makes the indexes of questions about the past, where they are not there: what held for a
-- sender at a time is the entry just before it, and who was told out next, by anyone, the
-- entry just after. Looked for first, since CREATE INDEX IF NOT EXISTS locks out who writes
-- though there is nothing to do.
DO $$
BEGIN
    IF to_regclass('consent_history_v1_by_occurrence') IS NULL THEN
        CREATE INDEX IF NOT EXISTS consent_history_v1_by_occurrence
            ON consent_history_v1 (subject_id, sender, occurred_at, position);
    END IF;
    IF to_regclass('consent_history_v1_outs') IS NULL THEN
        CREATE INDEX IF NOT EXISTS consent_history_v1_outs
            ON consent_history_v1 (subject_id, occurred_at, position)
            WHERE status = 'out';
    END IF;
END
$$
