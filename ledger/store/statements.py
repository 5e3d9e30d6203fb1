"""Loads SQL: one statement a file, found next to the module that runs it.

Never formats: a statement is sent as it stands in its file. A missing file fails when
the module that names it is imported.
"""

from importlib.resources import files


def statement(package: str, name: str) -> str:
    """The text of ``sql/<name>.sql`` in ``package``."""
    return files(package).joinpath("sql", f"{name}.sql").read_text(encoding="utf-8")
