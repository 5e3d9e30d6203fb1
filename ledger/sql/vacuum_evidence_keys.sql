-- Gives up the dead rows of the tables that evidence's keys are deleted from.
VACUUM evidence_keys, kept_evidence_keys
