"""Measures the table in the issue's section "Speed", as ratios in one run.

Reading order: ``__main__`` (options), ``rows`` (what is measured, one function a row),
``service`` (what is started), ``load`` and ``texts`` (what drives it), ``report``.
"""
