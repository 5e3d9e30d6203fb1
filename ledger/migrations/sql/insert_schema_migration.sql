-- Records a step, in its own transaction.
-- $1 number integer   $2 name text
INSERT INTO schema_migrations (number, name) VALUES ($1, $2)
