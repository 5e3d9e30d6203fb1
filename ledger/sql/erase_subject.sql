-- Erases a subject, with its key and its rows; nothing comes back where the subject has
-- moved on, or a text to it was asked for. Migration 0001 describes how the state is joined.
-- $1 subject uuid   $2 expected version bigint   $3 position up to which texts are known
-- $4 status text   $5 since timestamptz   $6 topic text   $7 tail bytea
-- $8 state head bytea   $9 state middle bytea
SELECT event_position FROM erase_subject_v1($1, $2, $3, $4, $5, $6, $7, $8, $9)
