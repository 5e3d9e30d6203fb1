-- Puts the identity's key, wrapped anew, where the old one is still.
-- $1 current master key text   $2 old keys bytea[]   $3 new keys bytea[]
UPDATE identity_key SET wrapped_key = ($3::bytea[])[1], master_key = $1
WHERE wrapped_key = ($2::bytea[])[1]
