-- Makes the indexes of which lists are ranges, where they are not there.
CREATE INDEX IF NOT EXISTS phone_numbers_v1_by_status ON phone_numbers_v1 (status, phone_number);
CREATE INDEX IF NOT EXISTS phone_numbers_v1_by_position ON phone_numbers_v1 (status, position);
CREATE INDEX IF NOT EXISTS phone_numbers_v1_by_since
    ON phone_numbers_v1 (status, since, phone_number);
CREATE INDEX IF NOT EXISTS phone_number_senders_v1_by_sender
    ON phone_number_senders_v1 (sender, status, phone_number);
