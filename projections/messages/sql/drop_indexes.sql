-- Takes the indexes of lists away, before very many rows are written.
DROP INDEX IF EXISTS messages_v1_by_position,
    messages_v1_by_number,
    messages_v1_by_address,
    messages_v1_open
