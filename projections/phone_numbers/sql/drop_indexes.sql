-- Takes the indexes of lists away, before very many rows are written.
DROP INDEX IF EXISTS phone_numbers_v1_by_status,
    phone_numbers_v1_by_position,
    phone_numbers_v1_by_since,
    phone_number_senders_v1_by_sender
