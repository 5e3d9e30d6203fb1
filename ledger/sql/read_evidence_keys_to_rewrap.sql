-- The days' secrets after one, in order.
-- $1 limit bigint   $2 after name text
SELECT name, wrapped_key, master_key
FROM evidence_keys
WHERE name > $2
ORDER BY name
LIMIT $1
