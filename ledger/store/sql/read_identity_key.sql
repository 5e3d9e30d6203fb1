-- The wrapped secret of the subject ids.
SELECT wrapped_key, master_key FROM identity_key
