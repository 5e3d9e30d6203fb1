"""Moving in: a file of what people said elsewhere becomes signals, row by row."""
