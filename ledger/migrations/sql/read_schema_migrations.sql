-- The number of the last step that was applied; 0 before the first.
SELECT coalesce(max(number), 0) FROM schema_migrations
