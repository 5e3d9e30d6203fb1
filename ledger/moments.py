"""The instants that a question about the past names.

Pure but for the data of time zones. Never asks the time: whether an instant is in the
future is for who has a clock to say. The subtle part is a date without a time, which is
the end of that day: who was opted in "on 1 March" may have said so at noon.
"""

import re
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from reprlib import repr as shown  # short, and safe to print
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ledger.errors import FutureMoment, InvalidMoment, UnknownTimeZone

_RFC_3339: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?"
    r"(?:[Zz]|[ +-][0-9]{2}:[0-9]{2})",
    re.ASCII,
)
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_ZONE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*", re.ASCII)
_OF_THIS_MACHINE: Final = frozenset({"localtime", "posixrules", "Factory"})
_LAST: Final = datetime.max.replace(tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def parse_zone(name: str) -> tzinfo:
    """The time zone of that name in the IANA database, such as ``America/New_York``.

    Raises:
        UnknownTimeZone: there is none.
    """
    if _ZONE.fullmatch(name) and name not in _OF_THIS_MACHINE:
        with suppress(ZoneInfoNotFoundError, OSError):
            return ZoneInfo(name)
    raise UnknownTimeZone(f"{shown(name)}: use a name such as America/New_York, or UTC")


def parse_moment(text: str, zone: tzinfo = UTC) -> datetime:
    """An instant in UTC: RFC 3339 with an offset, or the end of a date in ``zone``.

    Raises:
        InvalidMoment: there is no such time or day, or the time has no offset.
    """
    with suppress(ValueError):
        if _RFC_3339.fullmatch(text):
            # In a query, a plus sign that was not sent as %2B has become a space.
            written = text[:10] + text[10:].upper().replace(" ", "+")
            return _in_utc(datetime.fromisoformat(written))
        if _DATE.fullmatch(text):
            return _end_of(date.fromisoformat(text), zone)
    raise InvalidMoment(
        f"{shown(text)} is neither a day, such as 2026-01-31, nor a time with an "
        "offset, such as 2026-01-31T12:00:00Z"
    )


def check_past(at: datetime, now: datetime) -> None:
    """Refuse an instant of which not everything can be known yet.

    Raises:
        FutureMoment: it is later than ``now``.
    """
    if at > now:
        raise FutureMoment(f"{at.isoformat()} has not come: it is {now.isoformat()}")


def _end_of(day: date, zone: tzinfo) -> datetime:
    """The last microsecond of a day, which may have 23 hours or 25.

    Raises:
        ValueError: the zone has no such day: it went from the one before to the next.
    """
    if day == date.max:
        return _LAST
    begins, ends = (
        _in_utc(datetime.combine(each, time.min, zone))
        for each in (day, day + timedelta(days=1))
    )
    if begins == ends:
        raise ValueError(day)
    return ends - _MICROSECOND


def _in_utc(at: datetime) -> datetime:
    """The instant, or the last there is: what is later is in the future all the same.

    Raises:
        ValueError: it is before the first there is.
    """
    try:
        return at.astimezone(UTC)
    except OverflowError:
        if at.year == 1:
            raise ValueError(at) from None
        return _LAST
