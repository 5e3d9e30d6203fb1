-- Drops what erases from a version's tables.
DROP FUNCTION IF EXISTS phone_numbers_v1_erase(uuid)
