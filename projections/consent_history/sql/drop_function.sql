-- Drops what erases from a version's tables.
DROP FUNCTION IF EXISTS consent_history_v1_erase(uuid)
