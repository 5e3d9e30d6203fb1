-- Makes the indexes of which lists are ranges, where they are not there. Looked for first:
-- CREATE INDEX IF NOT EXISTS locks out who writes, though there is nothing to do, and two
-- tables locked in another order than they are written in are a deadlock.
DO $$
BEGIN
    IF to_regclass('phone_numbers_v1_by_status') IS NULL THEN
        CREATE INDEX IF NOT EXISTS phone_numbers_v1_by_status
            ON phone_numbers_v1 (status, phone_number);
    END IF;
    IF to_regclass('phone_numbers_v1_by_position') IS NULL THEN
        CREATE INDEX IF NOT EXISTS phone_numbers_v1_by_position
            ON phone_numbers_v1 (status, position);
    END IF;
    IF to_regclass('phone_numbers_v1_by_since') IS NULL THEN
        CREATE INDEX IF NOT EXISTS phone_numbers_v1_by_since
            ON phone_numbers_v1 (status, since, phone_number);
    END IF;
    IF to_regclass('phone_number_senders_v1_by_sender') IS NULL THEN
        CREATE INDEX IF NOT EXISTS phone_number_senders_v1_by_sender
            ON phone_number_senders_v1 (sender, status, phone_number);
    END IF;
END
$$
