-- What time it is where times of recording come from.
SELECT clock_timestamp()
