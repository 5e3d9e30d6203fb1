-- Up to where every text that was asked for is done with, and the database's time.
SELECT position, clock_timestamp() FROM sending_checkpoint
