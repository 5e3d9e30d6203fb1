-- One migration at a time in this database; the number is an arbitrary constant.
SELECT pg_advisory_lock(7220260001)
