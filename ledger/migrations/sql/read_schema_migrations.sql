-- The steps that were applied.
SELECT number, name FROM schema_migrations ORDER BY number DESC
