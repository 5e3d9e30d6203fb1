"""The column of a table in which the phone numbers are.

Pure. Never guesses: where two columns could be meant, none is.
"""

import csv
import re
from typing import Final, NamedTuple

from ledger.errors import NoNumberColumn

_SURE: Final = "phonenumber"
_NAMES: Final = frozenset(
    (
        _SURE,
        "phone",
        "number",
        "mobile",
        "mobilenumber",
        "mobilephone",
        "cell",
        "cellphone",
        "telephone",
        "msisdn",
    )
)
_DELIMITERS: Final = (",", ";", "\t")


class NumberColumn(NamedTuple):
    """Where it is, and how the table is written."""

    delimiter: str
    place: int
    header: list[str]


def find_column(header: str, wanted: str | None = None) -> NumberColumn:
    """The column that is named like phone numbers, or ``wanted``.

    ``header`` is the table's first row as it is written, without the mark of its byte
    order.

    Raises:
        NoNumberColumn: none is, or more than one.
    """
    delimiter = delimiter_of(header)
    names = cells_of(header, delimiter)
    plain = [_plain(name) for name in names]
    if wanted is not None:
        found = [i for i, name in enumerate(names) if name.strip() == wanted.strip()]
    elif _SURE in plain:
        found = [i for i, name in enumerate(plain) if name == _SURE]
    else:
        found = [i for i, name in enumerate(plain) if name in _NAMES]
    if len(found) != 1:
        count = "more than one" if found else "no"
        raise NoNumberColumn(f"{count} column is named so; name one phoneNumber")
    return NumberColumn(delimiter, found[0], names)


def delimiter_of(header: str) -> str:
    """What the cells of a table are apart by: what makes most of them."""
    return max(_DELIMITERS, key=header.count)


def cells_of(row: str, delimiter: str) -> list[str]:
    """The cells of one row as it is written."""
    return next(csv.reader([row], delimiter=delimiter), [])


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).lower()
