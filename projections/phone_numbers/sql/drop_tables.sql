-- Drops a version's tables.
DROP TABLE IF EXISTS phone_numbers_v1, phone_number_senders_v1
