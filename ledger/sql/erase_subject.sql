-- Erases a subject, with its key and its rows; nothing comes back where the subject has
-- moved on. Migration 0001 describes how the state is joined.
-- $1 subject uuid   $2 expected version bigint   $3 status text   $4 since timestamptz
-- $5 topic text     $6 tail bytea   $7 state head bytea   $8 state middle bytea
SELECT event_position FROM erase_subject_v1($1, $2, $3, $4, $5, $6, $7, $8)
