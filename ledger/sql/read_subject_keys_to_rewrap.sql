-- The subjects' keys after one, in order. Those that the current master key has wrapped
-- are among them: to look for the others could mean to read the whole table at once.
-- $1 limit bigint   $2 after subject uuid
SELECT subject_id, wrapped_key, master_key
FROM subject_keys
WHERE subject_id > $2
ORDER BY subject_id
LIMIT $1
