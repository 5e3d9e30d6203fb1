"""The instants that a question about the past names."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from ledger.errors import FutureMoment, InvalidMoment, UnknownTimeZone
from ledger.moments import check_past, parse_moment, parse_zone

NEW_YORK = parse_zone("America/New_York")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-03-01", "2026-03-01T23:59:59.999999+00:00"),
        ("2024-02-29", "2024-02-29T23:59:59.999999+00:00"),
        ("2026-03-01T12:00:00Z", "2026-03-01T12:00:00+00:00"),
        ("2026-03-01t12:00:00z", "2026-03-01T12:00:00+00:00"),
        ("2026-03-01T12:00:00-05:00", "2026-03-01T17:00:00+00:00"),
        ("2026-03-01T12:00:00 05:00", "2026-03-01T07:00:00+00:00"),
        ("2026-03-01T12:00:00.123456Z", "2026-03-01T12:00:00.123456+00:00"),
    ],
)
def test_a_moment_is_a_day_or_a_time_with_an_offset(text: str, expected: str) -> None:
    """In UTC, whatever it was written in."""
    assert parse_moment(text).isoformat() == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026",
        "2026-3-1",
        "20260301",
        "2026-02-30",
        "2026-13-01",
        "0000-01-01",
        "2026-03-01T12:00:00",
        "2026-03-01T12:00Z",
        "2026-03-01T24:00:00Z",
        "2026-03-01T12:00:60Z",
        "2026-03-01T12:00:00+24:00",
        "0001-01-01T00:00:00+05:00",
        "2026-W09-7",
        "٢٠٢٦-03-01",
        "2026-03-01\n",
        "x" * 10_000,
    ],
)
def test_what_is_none_is_refused(text: str) -> None:
    """Above all a time without an offset, which could be any of a day's."""
    with pytest.raises(InvalidMoment):
        parse_moment(text)


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        ("2026-03-07", datetime(2026, 3, 8, 5, tzinfo=UTC)),
        ("2026-03-08", datetime(2026, 3, 9, 4, tzinfo=UTC)),  # has 23 hours
        ("2026-11-01", datetime(2026, 11, 2, 5, tzinfo=UTC)),  # has 25
    ],
)
def test_a_day_ends_where_its_people_are(day: str, expected: datetime) -> None:
    """A microsecond before the next one begins there, in summer and in winter."""
    assert parse_moment(day, NEW_YORK) == expected - timedelta(microseconds=1)


def test_a_time_with_an_offset_needs_no_zone() -> None:
    """What it says itself wins."""
    given = "2026-03-01T12:00:00-08:00"
    assert parse_moment(given, NEW_YORK) == datetime(2026, 3, 1, 20, tzinfo=UTC)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "localtime",
        "posixrules",
        "Mars/Olympus",
        "../../etc/passwd",
        "/etc/localtime",
        "America",
        "é",
    ],
)
def test_a_zone_that_there_is_not_is_refused(name: str) -> None:
    """A name is looked up, and is never a path."""
    with pytest.raises(UnknownTimeZone):
        parse_zone(name)


def test_a_day_that_its_zone_skipped_is_refused() -> None:
    """Samoa went from the 29th to the 31st; elsewhere it was a day like any other."""
    apia = parse_zone("Pacific/Apia")
    with pytest.raises(InvalidMoment):
        parse_moment("2011-12-30", apia)
    days = [parse_moment(f"2011-12-{day}", apia) for day in (29, 31)]
    assert days[1] - days[0] == timedelta(days=1)
    assert parse_moment("2011-12-30").day == 30


@pytest.mark.parametrize("text", ["9999-12-31", "9999-12-31T23:59:59-05:00"])
def test_the_end_of_the_calendar_is_in_the_future(text: str) -> None:
    """Also where UTC has it a day later, which no calendar here has."""
    with pytest.raises(FutureMoment):
        check_past(parse_moment(text, NEW_YORK), datetime(2026, 3, 1, tzinfo=UTC))


def test_now_is_not_in_the_future() -> None:
    """Whatever zone it is written in; a microsecond later is."""
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    check_past(now.astimezone(timezone(timedelta(hours=5))), now)
    with pytest.raises(FutureMoment):
        check_past(now + timedelta(microseconds=1), now)
