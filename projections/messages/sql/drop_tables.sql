-- Drops a version's table.
DROP TABLE IF EXISTS messages_v1
