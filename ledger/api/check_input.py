"""The body of a check: JSON, or a CSV table with its parameters in the query.

Never reads the ledger. The subtle part is what is fatal: a parameter that is wrong is,
a number that is wrong is not.
"""

import csv
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Final, NamedTuple

import orjson
from pydantic import JsonValue, ValidationError

from ledger.api.addresses import sender_in
from ledger.api.check_models import NUMBERS_MAX, CheckInput
from ledger.api.check_reader import CheckQuestion
from ledger.api.point_in_time import moments_in
from ledger.domain.ids import Position, Sender
from ledger.errors import InvalidQuery, InvalidRequest, TooManyNumbers
from ledger.given_numbers import check_region
from ledger.number_column import find_column

PARAMETERS: Final = (
    "sender",
    "asOf",
    "knownAt",
    "tz",
    "minPosition",
    "record",
    "region",
)
_BOOLEANS: Final = {"true": True, "false": False}


class CheckRequest(NamedTuple):
    """A list, and what is asked of it."""

    given: Sequence[JsonValue]
    question: CheckQuestion
    region: str | None
    min_position: Position | None
    is_recorded: bool


def parse_json(body: bytes) -> CheckRequest:
    """What a JSON body asks.

    Raises:
        InvalidRequest: it is not JSON, or a parameter cannot be used.
        InvalidMoment, UnknownTimeZone, InvalidQuery: the times are none.
        TooManyNumbers, UnknownRegion: what it says.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"the body is not JSON: {error}") from None
    return _request(value)


def parse_csv(body: bytes, parameters: Mapping[str, str]) -> CheckRequest:
    """What a CSV body and a query ask.

    Raises:
        InvalidRequest, NoNumberColumn: it is no such table.
        InvalidQuery: a parameter cannot be used; the rest as ``parse_json``.
    """
    asked: dict[str, object] = {**parameters, "phoneNumbers": numbers_in(body)}
    if "sender" in parameters:
        asked["sender"] = sender_in(parameters["sender"])
    if "record" in parameters:
        asked["record"] = _boolean(parameters["record"])
    if "minPosition" in parameters:
        asked["minPosition"] = _whole(parameters["minPosition"])
    return _request(asked)


def numbers_in(body: bytes) -> list[JsonValue]:
    """The cells of the column of phone numbers; empty where a row is too short.

    Raises:
        InvalidRequest: it is not text in UTF-8, or no table.
        NoNumberColumn: no column is named like phone numbers.
    """
    try:
        text = body.decode("utf-8-sig")
        column = find_column(text.split("\n", 1)[0].rstrip("\r"))
        # Strict: a quote that nobody closes would swallow every row behind it.
        lines = StringIO(text, newline="")
        rows = csv.reader(lines, delimiter=column.delimiter, strict=True)
        next(rows, None)
        return [_cell(row, column.place) for row in rows if row]
    except UnicodeDecodeError:
        raise InvalidRequest("the table is not text in UTF-8") from None
    except csv.Error as error:
        raise InvalidRequest(f"the table cannot be read: {error}") from None


def _cell(row: Sequence[str], place: int) -> str:
    return row[place] if place < len(row) else ""


def _request(value: object) -> CheckRequest:
    try:
        asked = CheckInput.model_validate(value, strict=True)
    except ValidationError as error:
        raise InvalidRequest(_explained(error)) from None
    if len(asked.phone_numbers) > NUMBERS_MAX:
        raise TooManyNumbers(f"send {NUMBERS_MAX} at a time, or use the command line")
    sender = None if asked.sender is None else Sender(asked.sender)
    times = {"asOf": asked.as_of, "knownAt": asked.known_at, "tz": asked.tz}
    moments = moments_in({n: v for n, v in times.items() if v is not None})
    minimum = asked.min_position
    return CheckRequest(
        asked.phone_numbers,
        CheckQuestion(sender, *(moments or ())),
        None if asked.region is None else check_region(asked.region),
        None if minimum is None else Position(minimum),
        asked.record,
    )


def _boolean(given: str) -> bool:
    if given not in _BOOLEANS:
        raise InvalidQuery("record is true, or is left out")
    return _BOOLEANS[given]


def _whole(given: str) -> int:
    if not given.isascii() or not given.isdigit():
        raise InvalidQuery("minPosition must be a position: a whole number from 0")
    return int(given[:20])


def _explained(error: ValidationError) -> str:
    """The first few faults: a list may have thousands."""
    return "; ".join(
        f"{'.'.join(map(str, fault['loc'])) or 'body'}: {fault['msg']}"
        for fault in error.errors(
            include_input=False, include_url=False, include_context=False
        )[:5]
    )
