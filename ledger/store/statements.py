"""Loads SQL: one statement a file, found next to the module that runs it.

A statement is sent as it stands in its file; a missing file fails when the module that
names it is imported. One thing is ever changed in it: the version in the names of a
projection's tables. The files are written for version 1 and are whole statements as
they stand. Each version has texts of its own, so that no plan that a connection has
kept for one is used for another.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from typing import Final

TABLES: Final[Mapping[str, str]] = {
    "phone_numbers": "phone_numbers",
    "phone_number_senders": "phone_numbers",
    "consent_history": "consent_history",
    "messages": "messages",
}
"""The tables of projections, without their versions, and whose they are."""

_NAME: Final = re.compile(rf"\b({'|'.join(TABLES)})_v1(?![0-9])")


def statement(package: str, name: str) -> str:
    """The text of ``sql/<name>.sql`` in ``package``."""
    return files(package).joinpath("sql", f"{name}.sql").read_text(encoding="utf-8")


_OLD_NAME: Final = re.compile(rf"\b({'|'.join(TABLES)})_v0(?![0-9])")


@lru_cache(maxsize=1024)
def at_versions(text: str, versions: tuple[tuple[str, int], ...]) -> str:
    """A statement for those versions of projections, given as (name, version)."""
    wanted = dict(versions)
    return _NAME.sub(lambda found: f"{found[1]}_v{wanted[TABLES[found[1]]]}", text)


def between(text: str, old: int, new: int) -> str:
    """A statement that compares two versions, written for versions 0 and 1."""
    # In this order: what is new may well be version 1's successor, and never 0.
    renewed = _NAME.sub(lambda found: f"{found[1]}_v{new}", text)
    return _OLD_NAME.sub(lambda found: f"{found[1]}_v{old}", renewed)
