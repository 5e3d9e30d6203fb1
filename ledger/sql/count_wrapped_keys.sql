-- How many keys each master key has wrapped.
SELECT w.master_key, count(*)
FROM (
    SELECT master_key FROM identity_key
    UNION ALL SELECT master_key FROM evidence_keys
    UNION ALL SELECT master_key FROM kept_evidence_keys
    UNION ALL SELECT master_key FROM subject_keys
) AS w
GROUP BY w.master_key
ORDER BY w.master_key
