"""Laws of query strings, cursors and CSV."""

import csv
import io
from datetime import UTC, datetime
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ledger import errors
from ledger.api.formats import CSV, JSON, csv_rows, negotiate, next_page
from ledger.api.query import Bound, Cursor, ListQuery, OrderKey, Value, parse_query

# Lone surrogates too: they are how aiohttp hands over bytes that are not UTF-8.
anything = st.text(st.characters(exclude_categories=()))
printable = st.text(min_size=1).filter(str.isprintable)
numbers = st.from_regex(r"\+[1-9][0-9]{6,14}", fullmatch=True)
times = st.datetimes(timezones=st.just(UTC))
positions = st.integers(0, 10**18 - 1)

words = st.sampled_from(
    "phoneNumber status sender since position version updatedSince name limit( sort( "
    "select( ) [ ] , limit= cursor= = == === != !== =ne= =gt= =ge= =lt= =le= =sw= =ct= "
    "< > %3E & & & | * + - %2B1415 in out MG1 12 string: number: date: "
    "2026-01-01T00:00:00Z 2026-01-01T00:00:00+02:00 %00 %ED%A0%80 %F4%8F%BF%BF".split()
)
queries = st.lists(words | anything, max_size=20).map("".join)

conditions = st.sampled_from(
    ["status=out", "sender=MG1", "phoneNumber!=%2B1", "limit(10,60)", "select(status)"]
)
orders = st.sampled_from(["", "sort(status)", "phoneNumber=sw=%2B&sort(-phoneNumber)"])
accepted = st.tuples(orders, st.lists(conditions, unique=True)).map(
    lambda parts: "&".join([parts[0], *parts[1]])
)


@given(anything | queries)
def test_whatever_is_asked_is_understood_or_refused(raw: str) -> None:
    """Parsing raises nothing but an invalid query, whose message can be sent."""
    message = "accepted"
    try:
        parse_query(raw)
    except errors.InvalidQuery as refusal:
        message = str(refusal)
    assert message.encode()


@given(anything | queries)
def test_what_is_accepted_is_within_its_limits(raw: str) -> None:
    """An accepted query is bounded, has one range, and can be linked to."""
    try:
        query = parse_query(raw)
    except errors.InvalidQuery:
        return
    assert 1 <= query.limit <= 1_000
    assert 0 <= query.offset <= 10_000
    assert len(query.excluded) <= 20
    assert query.sender is None or query.order_by == "phoneNumber"
    assert next_page(raw, query.encode(Cursor(0, "", ""))).isascii()


@given(accepted, numbers | st.text(st.characters(codec="utf-8", min_codepoint=1)))
def test_a_cursor_round_trips_by_number(raw: str, number: str) -> None:
    """The page after any number that a table can hold begins after that number."""
    query = parse_query(raw)
    cursor = Cursor(len(query.statuses) - 1, number, number)
    following = parse_query(next_page(raw, query.encode(cursor)))
    assert following.after == cursor
    assert following.statuses == query.statuses


@given(
    st.one_of(
        st.tuples(st.just("position"), positions), st.tuples(st.just("since"), times)
    ),
    numbers,
)
def test_a_cursor_round_trips_by_position_and_time(
    ended: tuple[OrderKey, Value], number: str
) -> None:
    """A cursor holds positions and times exactly."""
    key, value = ended
    query = parse_query(f"sort({key})")
    cursor = Cursor(0, value, number)
    assert parse_query(f"sort({key})&cursor={query.encode(cursor)}").after == cursor


@given(st.text(st.characters(codec="ascii")))
def test_a_text_that_we_did_not_write_is_no_cursor(text: str) -> None:
    """A cursor cannot be guessed."""
    with pytest.raises(errors.InvalidCursor):
        parse_query(f"cursor={quote(text, safe='')}")


@given(st.data(), accepted, numbers)
def test_a_damaged_cursor_is_refused(
    data: st.DataObject, raw: str, number: str
) -> None:
    """A cursor with one character changed, missing or added is refused."""
    cursor = parse_query(raw).encode(Cursor(0, number, number))
    place = data.draw(st.integers(0, len(cursor)))
    length = data.draw(st.integers(0, 1))
    patch = data.draw(st.sampled_from(["", "A", "_", "%00", "="]))
    damaged = cursor[:place] + patch + cursor[place + length :]
    if damaged != cursor:
        with pytest.raises(errors.InvalidCursor):
            parse_query(f"{raw}&cursor={damaged}")


@given(printable, st.text() | numbers)
@example("+1415", "+14155550100")
@example("+1999", "+2")
@example("\ud7fb", "\ud7fb\U0010ffff")
@example("\uffee", "\U00010000")
def test_a_prefix_is_exactly_its_range(prefix: str, text: str) -> None:
    """By code point, a text is in a prefix's range if and only if it begins with it."""
    if prefix[0] == " ":
        prefix = f"a{prefix}"
    query = parse_query(f"phoneNumber=sw={quote(f'string:{prefix}', safe='')}")
    for candidate in (text, prefix + text):
        assert within(query, candidate) == candidate.startswith(prefix)


def within(query: ListQuery, text: str) -> bool:
    """Whether a prefix query's range holds a text."""
    assert query.lower is not None
    assert query.upper is not None
    return str(query.lower.value) <= text < str(query.upper.value)


comparisons = st.lists(
    st.tuples(st.sampled_from(["=gt=", "=ge=", "=lt=", "=le=", "=="]), positions),
    max_size=6,
)


@given(comparisons, positions)
def test_a_range_holds_what_every_comparison_holds(
    compared: list[tuple[str, int]], position: int
) -> None:
    """Conditions are joined by and, in any number and order."""
    query = parse_query("&".join(f"position{op}{value}" for op, value in compared))
    holds = {
        "=gt=": int.__gt__,
        "=ge=": int.__ge__,
        "=lt=": int.__lt__,
        "=le=": int.__le__,
        "==": int.__eq__,
    }
    for candidate in (position, *(value for _, value in compared)):
        expected = all(holds[op](candidate, value) for op, value in compared)
        assert in_range(query.lower, candidate, query.upper) == expected


def in_range(lower: Bound | None, value: int, upper: Bound | None) -> bool:
    """Whether a value lies between two ends, either of which may be open."""
    above = lower is None or (value, lower.inclusive) > (lower.value, False)
    below = upper is None or (value, not upper.inclusive) < (upper.value, True)
    return above and below


@given(anything)
def test_a_content_type_is_offered_or_refused(accept: str) -> None:
    """Whatever is accepted, the answer is one of the offered types, or a refusal."""
    try:
        assert negotiate(accept, (JSON, CSV)) in {JSON, CSV}
    except errors.NotAcceptable:
        assert accept


@given(st.lists(st.fixed_dictionaries({"a": st.text(), "b": numbers})))
def test_csv_is_read_back_as_it_was(records: list[dict[str, str]]) -> None:
    """A CSV reader gets every text back, with an apostrophe before formulas at most."""
    text = b"".join(csv_rows(["a", "b"], records)).decode()
    header, *rows = csv.reader(io.StringIO(text, newline=""))
    assert header == ["a", "b"]
    assert [row[1] for row in rows] == [record["b"] for record in records]
    for row, record in zip(rows, records, strict=True):
        assert row[0] in {record["a"], f"'{record['a']}"}


def test_the_range_of_times_is_that_of_instants() -> None:
    """Times with different offsets are compared as instants."""
    query = parse_query(
        "since=gt=2026-01-01T00:00:00Z&since=gt=2026-01-01T00:30:00%2B01:00"
    )
    assert query.lower == Bound(datetime(2026, 1, 1, tzinfo=UTC), inclusive=False)
