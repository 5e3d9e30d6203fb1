"""The consent ledger: who may be texted, since when, and how we know.

Reading order: ``webhook`` (the world comes in), ``command_handler`` (load, decide,
append), ``domain`` (the rules, pure), ``store`` (the only writer of events), ``api``
(the world reads). ``app`` puts them together. The tables that ``api`` reads are built
by the sibling package ``projections``, which this package never imports.
"""
