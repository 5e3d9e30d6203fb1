"""How records look on the wire: which content type, which columns, which text.

Chooses between JSON, CSV and events by ``Accept`` or by a path's extension, and writes
CSV. Never reads a table and never chooses records: that is ``ledger.api.query``. The
subtle part is that a spreadsheet runs a cell that begins with ``=``, ``+``, ``-`` or
``@``, and every phone number begins with ``+``. A cell that is exactly an E.164 number
is left as it is: a plus and digits compute nothing but themselves, and programs read
them. Any other such text gets an apostrophe before it, whatever its column.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from io import StringIO
from reprlib import repr as shown  # short, and safe to print
from typing import Final, Literal
from urllib.parse import quote

import orjson

from ledger.domain.ids import is_e164
from ledger.errors import InvalidQuery, InvalidValue, NotAcceptable, UnknownAttribute

JSON: Final = "application/json"
CSV: Final = "text/csv"
EVENT_STREAM: Final = "text/event-stream"
NDJSON: Final = "application/x-ndjson"

COLUMNS: Final = ("phoneNumber", "status", "since", "position", "version")
SENDER_COLUMNS: Final = ("phoneNumber", "status", "sender", "since", "position")

_EXTENSIONS: Final = {".json": JSON, ".csv": CSV}
_WEIGHT: Final = re.compile(r"(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?|\.[0-9]{1,3})")
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")


def split_extension(path: str) -> tuple[str, str | None]:
    """A path without ``.json`` or ``.csv``, and the content type that it asks for.

    The extension wins over ``Accept``: it is what a person can type in a browser.
    """
    for extension, content_type in _EXTENSIONS.items():
        if path.endswith(extension):
            return path.removesuffix(extension), content_type
    return path, None


@lru_cache
def negotiate(accept: str | None, offered: tuple[str, ...]) -> str:
    """The offered content type that ``Accept`` weighs most; the first among equals.

    As in RFC 9110, a type has the weight of the most specific range that names it. At
    equal weight a type that is named wins over one that a wildcard allows. What cannot
    be understood in ``Accept`` is passed over.

    Raises:
        NotAcceptable: every offered type has no weight.
    """
    if accept is None or not accept.strip():
        return offered[0]
    weights = dict(filter(None, map(_media_range, accept.lower().split(","))))
    best = max(offered, key=lambda content_type: _weight(content_type, weights))
    if _weight(best, weights)[0] == 0:
        raise NotAcceptable(f"send Accept: {', '.join(offered)}, or no Accept at all")
    return best


def _media_range(text: str) -> tuple[str, float] | None:
    """A media range and its weight; other parameters change nothing here."""
    name, *parameters = (part.strip() for part in text.split(";"))
    weight = next((p[2:] for p in parameters if p.startswith("q=")), "1")
    return (name, float(weight)) if _WEIGHT.fullmatch(weight) else None


def _weight(content_type: str, weights: Mapping[str, float]) -> tuple[float, int]:
    ranges = (content_type, content_type.partition("/")[0] + "/*", "*/*")
    found = ((weights[r], -place) for place, r in enumerate(ranges) if r in weights)
    return next(found, (0.0, 0))


@dataclass(frozen=True, slots=True)
class Selection:
    """What ``select(...)`` asks of each record; all of it, where it asks nothing."""

    columns: tuple[str, ...]
    shape: Literal["objects", "arrays", "values"] = "objects"

    def of(self, record: Mapping[str, object]) -> object:
        """A record as its selected columns: an object, an array or a single value."""
        if self.shape == "values":
            return record[self.columns[0]]
        if self.shape == "arrays":
            return [record[column] for column in self.columns]
        return {column: record[column] for column in self.columns}


def parse_selection(text: str | None, *, of_sender: bool) -> Selection:
    """The peer's forms: ``a`` is values, ``a,`` and ``a,b`` objects, ``[a,b]`` arrays.

    Raises:
        UnknownAttribute: a column that these records do not have.
        InvalidQuery: a column twice; a short query must not make a large answer.
    """
    known = SENDER_COLUMNS if of_sender else COLUMNS
    if text is None:
        return Selection(known)
    arrays = text.startswith("[") and text.endswith("]")
    names = (text[1:-1] if arrays else text).split(",")
    columns = tuple(names[:-1] if len(names) > 1 and not names[-1] else names)
    if unknown := [name for name in columns if name not in known]:
        raise UnknownAttribute(f"{shown(unknown[0])}: use {', '.join(known)}")
    if len(set(columns)) < len(columns):
        raise InvalidQuery("select names a column twice; name it once")
    if arrays:
        return Selection(columns, "arrays")
    return Selection(columns, "values" if len(names) == 1 else "objects")


def next_page(raw: str, cursor: str) -> str:
    """A query string with another cursor, fit for the ``<...>`` of a ``Link`` header.

    ``raw`` is a query that ``ledger.api.query`` accepted; its ``<`` and ``>`` would end
    the link, and are understood when they are encoded.
    """
    parts = [part for part in raw.split("&") if part and part[:7] != "cursor="]
    return quote("&".join([*parts, f"cursor={cursor}"]), safe="%&=!(),[]:*+$/?@'")


def parse_time(text: str) -> datetime:
    """A time in UTC; one without an offset could be any of a day's, and is refused.

    Raises:
        InvalidValue: there is no such time, or it has no offset.
    """
    with suppress(ValueError, OverflowError):
        # A plus sign that was not sent as %2B has become a space.
        time = datetime.fromisoformat(text[:-6] + text[-6:].replace(" ", "+"))
        if time.tzinfo:
            return time.astimezone(UTC)
    raise InvalidValue(
        f"{shown(text)} is not a time with an offset, such as 2026-01-31T00:00:00Z"
    )


def csv_rows(
    columns: Sequence[str], records: Iterable[Mapping[str, object]]
) -> Iterator[bytes]:
    """Records as CSV (RFC 4180, UTF-8): a header row, then one row at a time."""
    buffer = StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\r\n")
    for row in _rows(columns, records):
        writer.writerow(row)
        yield buffer.getvalue().encode()
        buffer.seek(0)
        buffer.truncate()


def _rows(
    columns: Sequence[str], records: Iterable[Mapping[str, object]]
) -> Iterator[Sequence[str]]:
    yield columns
    for record in records:
        yield [_cell(record[column]) for column in columns]


def _cell(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        # As in the JSON answer: times in RFC 3339, true and false, lists.
        return orjson.dumps(value, option=orjson.OPT_UTC_Z).decode().strip('"')
    if value.startswith(_FORMULA) and not is_e164(value):
        return f"'{value}"
    return value
