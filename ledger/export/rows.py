"""Events as lines of NDJSON and as rows of CSV: the same names, in the same order.

Never loses a value: what CSV cannot hold (evidence) is JSON text in a cell. The subtle
part is that a spreadsheet runs a cell that begins with ``=``, ``+``, ``-`` or ``@``:
such a cell gets an apostrophe before it, unless it is an E.164 number, which computes
nothing but itself. So does one that begins with an apostrophe, so that taking one away
always gives back what was recorded.
"""

import csv
from collections.abc import Iterable, Sequence
from datetime import datetime
from io import StringIO
from typing import Final

import orjson

from ledger.domain.ids import is_e164
from ledger.event_record import PERSONAL, EventRecord, record_types

_ESCAPED: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "'")


def columns(*, without_personal: bool) -> list[str]:
    """The columns of a table of events, of whatever kind."""
    hidden = PERSONAL if without_personal else ()
    return [name for name in record_types() if name not in hidden]


def csv_header(names: Sequence[str]) -> bytes:
    """The first row."""
    return _csv([names])


def csv_rows(names: Sequence[str], records: Iterable[EventRecord]) -> bytes:
    """A row for each event; what its kind does not have is empty."""
    return _csv([_cell(record.get(name)) for name in names] for record in records)


def as_text(value: object) -> str:
    """A value that is no text as it is in NDJSON."""
    return orjson.dumps(value, option=orjson.OPT_UTC_Z).decode()


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return as_text(value).strip('"')
    if not isinstance(value, str):
        return as_text(value)
    if value.startswith(_ESCAPED) and not is_e164(value):
        return f"'{value}"
    return value


def _csv(rows: Iterable[Sequence[str]]) -> bytes:
    buffer = StringIO(newline="")
    csv.writer(buffer, lineterminator="\r\n").writerows(rows)
    return buffer.getvalue().encode()
