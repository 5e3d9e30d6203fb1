"""``GET /PhoneNumbers/?asOf=``: which numbers were out, or in, at a time.

Goes through the numbers in their order and asks of each what it said then, as for one.
Never goes through all of them for one answer: no index has the statuses of every time,
so a page ends after so many numbers, however few of them it shows, and says where to go
on.
"""

import asyncio
import base64
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Final, NamedTuple

import orjson

from ledger.api.formats import CSV, SENDER_COLUMNS, csv_rows
from ledger.api.lists import Asked, Page, read_list, written
from ledger.api.past import PastReader, Question, Told, decided_by, status_at
from ledger.api.point_in_time import PARAMETERS, Moments, moments_in
from ledger.api.query import LIMIT_DEFAULT, LIMIT_MAX, Bound, parse_query
from ledger.api.serving import Serving
from ledger.domain.consent import decisive_for
from ledger.domain.ids import Answer, PhoneNumber, Sender
from ledger.errors import InvalidCursor, InvalidLimit, InvalidQuery, InvalidValue

ALLOWED: Final = (*PARAMETERS, "status", "sender", "limit", "cursor")
NUMBERS_MAX: Final = 5_000
"""The numbers that one answer looks at."""

_STEP_MAX: Final = 1_000
_WHOLE: Final = re.compile("[0-9]{1,9}", re.ASCII)
_EVERY_NUMBER: Final = parse_query("")


class PastQuery(NamedTuple):
    """A page of the list of then."""

    moments: Moments
    status: Answer | None
    sender: Sender | None
    limit: int
    after: PhoneNumber | None


class PastRow(NamedTuple):
    """A number in that list, by the columns of a sender's list."""

    phone_number: PhoneNumber
    status: Answer
    sender: Sender | None
    since: datetime | None
    position: int | None


def parse_past_query(parameters: Mapping[str, str], sender: Sender | None) -> PastQuery:
    """The page that the parameters ask for.

    Raises:
        InvalidMoment, UnknownTimeZone, InvalidQuery: they name no time.
        InvalidValue, InvalidLimit, InvalidCursor: one cannot be used.
    """
    moments = moments_in(parameters)
    if moments is None:
        raise InvalidQuery("give asOf or knownAt")
    cursor = parameters.get("cursor")
    return PastQuery(
        moments,
        _status(parameters.get("status")),
        sender,
        _limit(parameters.get("limit", str(LIMIT_DEFAULT))),
        None if cursor is None else _number_in(cursor),
    )


class PastLists:
    """Answers pages of what was."""

    def __init__(self, serving: Serving, reader: PastReader) -> None:
        self._serving = serving
        self._reader = reader

    async def page(self, asked: Asked, query: PastQuery) -> Page:
        """The page.

        Raises:
            FutureMoment: one of the two times has not come.
            NotYetProjected: the history has not reached what was known then.
            StoreUnavailable, QueueFull: it cannot be read now.
        """
        await self._reader.check(query.moments.as_of, query.moments.known_at)
        rows: list[PastRow] = []
        after = query.after
        step = min(_STEP_MAX, 2 * query.limit)
        for _ in range(0, NUMBERS_MAX, step):
            numbers, is_end = await self._numbers_after(after, step)
            found = await self._then(numbers, query)
            room = query.limit - len(rows)
            rows += found[:room]
            if len(found) > room:
                return _page(asked, rows, rows[-1].phone_number)
            if is_end:
                return _page(asked, rows, None)
            after = numbers[-1]
            if len(rows) == query.limit:
                break
        return _page(asked, rows, after)

    async def _numbers_after(
        self, after: PhoneNumber | None, step: int
    ) -> tuple[list[PhoneNumber], bool]:
        """The next numbers that there are, and whether they are the last."""
        lower = None if after is None else Bound(after, inclusive=False)
        rows = await read_list(
            self._serving, replace(_EVERY_NUMBER, lower=lower, limit=step)
        )
        return [row["phoneNumber"] for row in rows[:step]], len(rows) <= step

    async def _then(
        self, numbers: Sequence[PhoneNumber], query: PastQuery
    ) -> list[PastRow]:
        as_of, known_at = query.moments
        questions = [Question(n, as_of, known_at, query.sender) for n in numbers]
        answers = await asyncio.gather(*map(self._reader.ask, questions))
        rows = (_row(t, q) for t, q in zip(answers, questions, strict=True))
        return [row for row in rows if row and query.status in {None, row.status}]


def _row(told: Told, question: Question) -> PastRow | None:
    """A number as it stands in the list; None where nothing was known of it."""
    number, as_of, _, sender = question
    if sender is not None and sender not in told.facts:
        return None  # As in the list of now: who said nothing to it is not in it.
    decisive = decisive_for(told.facts, sender)
    status = status_at(told, decisive, as_of)
    said = decided_by(told, decisive, status)
    if status == "unknown" and said is None:
        return None
    if said is None:
        return PastRow(number, status, sender, None, None)
    return PastRow(number, status, sender, said.occurred_at, said.position)


def _page(asked: Asked, rows: Sequence[PastRow], after: PhoneNumber | None) -> Page:
    records = [dict(zip(SENDER_COLUMNS, row, strict=True)) for row in rows]
    if asked.content_type == CSV:
        body = b"".join(csv_rows(SENDER_COLUMNS, records))
    else:
        body = orjson.dumps(records, option=orjson.OPT_UTC_Z)
    return written(asked, body, None if after is None else _cursor(after))


def _status(given: str | None) -> Answer | None:
    match given:
        case None | "in" | "out" | "unknown":
            return given
        case _:
            raise InvalidValue("status is in, out or unknown")


def _limit(given: str) -> int:
    if _WHOLE.fullmatch(given) and 1 <= int(given) <= LIMIT_MAX:
        return int(given)
    raise InvalidLimit(f"ask for 1 to {LIMIT_MAX} records")


def _cursor(number: PhoneNumber) -> str:
    return base64.urlsafe_b64encode(number.encode()).decode().rstrip("=")


def _number_in(cursor: str) -> PhoneNumber:
    with suppress(ValueError):
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True)
        number = PhoneNumber(text.decode())
        if number and "\0" not in number and _cursor(number) == cursor:
            return number
    raise InvalidCursor("leave it out to begin again")
