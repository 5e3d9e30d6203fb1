"""Events become tables: workers that fill what the API reads.

Reading order: ``projection`` (the contract), ``worker`` (a batch of rows and its
checkpoint, in one transaction), then the projections themselves. This package sees the
store and the domain of ``ledger`` and nothing else of it.
"""
