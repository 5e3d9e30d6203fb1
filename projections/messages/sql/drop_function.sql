-- Drops what erases from a version's table.
DROP FUNCTION IF EXISTS messages_v1_erase(uuid)
