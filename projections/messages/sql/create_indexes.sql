-- Makes the indexes of which lists are ranges, where they are not there. Looked for first:
-- CREATE INDEX IF NOT EXISTS locks out who writes, though there is nothing to do.
DO $$
BEGIN
    IF to_regclass('messages_v1_by_position') IS NULL THEN
        CREATE INDEX IF NOT EXISTS messages_v1_by_position
            ON messages_v1 (direction, position);
    END IF;
    IF to_regclass('messages_v1_by_number') IS NULL THEN
        CREATE INDEX IF NOT EXISTS messages_v1_by_number
            ON messages_v1 (phone_number, direction, position);
    END IF;
    IF to_regclass('messages_v1_by_address') IS NULL THEN
        CREATE INDEX IF NOT EXISTS messages_v1_by_address
            ON messages_v1 (address, direction, position);
    END IF;
    IF to_regclass('messages_v1_open') IS NULL THEN
        CREATE INDEX IF NOT EXISTS messages_v1_open
            ON messages_v1 (status, position)
            WHERE status IN ('requested', 'unknown', 'scheduled')
                AND direction = 'outgoing';
    END IF;
END
$$
