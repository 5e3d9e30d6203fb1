"""When it was, as an export writes it: an instant, or a day.

Pure. Never reads a time without a zone as if it had one, and never guesses which of two
numbers is the month. The subtle part is a day without a time: within it nobody knows
what came first, so an opt-out counts to its end and an opt-in from its start.
"""

import re
from datetime import UTC, date, datetime, time
from email.utils import parsedate_to_datetime
from typing import Final

from ledger.domain.ids import Status
from ledger.imports.refusals import RowRefused

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_INSTANT: Final = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d", re.ASCII | re.IGNORECASE)
_UTC: Final = re.compile(r" ?(UTC|GMT)$")
_RFC_2822: Final = re.compile(r"[A-Za-z]{3}, \d{1,2} [A-Za-z]{3} \d{4} ", re.ASCII)


def parse_time(text: str, status: Status, now: datetime) -> datetime | None:
    """The instant that ``text`` names, in UTC; None for today's end, which is to come.

    RFC 3339, RFC 2822 as Twilio's API writes it, or a day alone, which is a day in UTC.
    Whether an instant is in the future is for the ledger's clock to say.

    Raises:
        RowRefused: it is neither, has no zone, or is before 1970.
    """
    at = _end(text, status, now) if _DAY.fullmatch(text) else _instant(text)
    if at is not None and at < _EPOCH:
        raise RowRefused("time_before_1970", "the time is before 1970")
    return at


def _end(text: str, status: Status, now: datetime) -> datetime | None:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise RowRefused("invalid_time", "there is no such day") from None
    if status == "in":
        return datetime.combine(day, time.min, UTC)
    return None if day == now.date() else datetime.combine(day, time.max, UTC)


def _instant(text: str) -> datetime:
    try:
        if _INSTANT.match(text):
            at = datetime.fromisoformat(_UTC.sub("+00:00", text))
        elif _RFC_2822.match(text):
            at = parsedate_to_datetime(text)
        else:
            raise RowRefused(
                "invalid_time", "write a time as 2026-01-31T12:00:00Z, or 2026-01-31"
            )
        if at.tzinfo is None:
            raise RowRefused(
                "time_without_zone",
                "the time has no zone: write it with an offset, such as Z",
            )
        return at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise RowRefused("invalid_time", "there is no such time") from None
