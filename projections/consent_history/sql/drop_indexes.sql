-- Takes the indexes of questions about the past away, before very many rows are written.
DROP INDEX IF EXISTS consent_history_v1_by_occurrence, consent_history_v1_outs
