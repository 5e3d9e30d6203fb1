-- Drops a version's table.
DROP TABLE IF EXISTS consent_history_v1
