"""The applications' side: read the projections, record explicit consent."""
