-- Lets a version answer, and tells readers.
-- $1 projection text   $2 version integer
WITH pointed AS (
    UPDATE projection_pointers SET version = $2 WHERE name = $1 RETURNING version
)
SELECT pg_notify('projections_switched', '') FROM pointed
