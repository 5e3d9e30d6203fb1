-- The secret of the subject ids.
SELECT secret FROM identity_key
