"""What every route takes and answers: the table behind /openapi.json."""
