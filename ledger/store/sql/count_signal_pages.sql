-- How many pages the table of signals has.
SELECT pg_relation_size('signal_keys') / current_setting('block_size')::bigint
