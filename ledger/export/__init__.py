"""The ledger as a file, for auditors and partners, with a manifest that vouches for it.

In reading order: ``asked`` (which events), ``rows`` (how they look), ``work`` (how a
killed export goes on), ``parquet`` (one of the formats), ``export`` (all together).
"""
