"""Content types, columns, times and CSV."""

import csv
import io
from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from ledger.api.formats import (
    CSV,
    EVENT_STREAM,
    JSON,
    Selection,
    csv_rows,
    negotiate,
    split_extension,
)
from ledger.errors import NotAcceptable

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, JSON),
        ("", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        ("text/*", CSV),
        ("text/csv", CSV),
        ("TEXT/CSV; charset=utf-8", CSV),
        ("text/event-stream", EVENT_STREAM),
        ("text/csv, application/json;q=0.5", CSV),
        ("text/csv;q=.5, application/json;q=0.500", JSON),
        ("text/csv;q=0.4, application/json;q=0.5", JSON),
        ("text/csv, */*", CSV),
        ("application/json;q=0, */*", CSV),
        ("*/*, application/json;q=0.1", CSV),
        ("text/*;q=0.9, text/csv;q=0.1, */*;q=0.5", EVENT_STREAM),
        ("text/html, text/csv;q=0.1", CSV),
        ("text/csv;q=nan, application/json;q=0.1", JSON),
        ("text/csv;q=2, application/json;q=0.1", JSON),
        (",;,application/json", JSON),
        (BROWSER, JSON),
    ],
)
def test_the_heaviest_offered_type_is_chosen(accept: str | None, chosen: str) -> None:
    """The client's weights decide, then what it names, then our order."""
    assert negotiate(accept, (JSON, CSV, EVENT_STREAM)) == chosen


@pytest.mark.parametrize(
    "accept", ["text/html", "text/event-stream", "*/*;q=0", "json", "text/csv;q=0"]
)
def test_a_type_that_is_not_offered_is_refused(accept: str) -> None:
    """Where no offered type has a weight, the refusal names those there are."""
    with pytest.raises(NotAcceptable, match="application/json, text/csv"):
        negotiate(accept, (JSON, CSV))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/PhoneNumbers/.csv", ("/PhoneNumbers/", CSV)),
        ("/PhoneNumbers/+14155550100.json", ("/PhoneNumbers/+14155550100", JSON)),
        ("/PhoneNumbers/+14155550100.status", None),
        ("/PhoneNumbers/", None),
    ],
)
def test_an_extension_is_a_content_type(
    path: str, expected: tuple[str, str] | None
) -> None:
    """``.csv`` and ``.json`` choose a type, and nothing else does."""
    assert split_extension(path) == (expected or (path, None))


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(("status",), "values"), "out"),
        (Selection(("status",), "objects"), {"status": "out"}),
        (Selection(("since", "status"), "arrays"), [None, "out"]),
    ],
)
def test_a_record_is_shaped_as_selected(selection: Selection, expected: object) -> None:
    """A selection gives a value, an object or an array, in the order asked for."""
    assert selection.of({"status": "out", "since": None, "version": 1}) == expected


def written(*records: Mapping[str, object]) -> str:
    """Records as one CSV text, with the columns of the first."""
    return b"".join(csv_rows(list(records[0]), records)).decode()


def test_csv_begins_with_its_columns() -> None:
    """A list without records still says what its columns are, and rows end in CRLF."""
    assert list(csv_rows(["phoneNumber", "status"], [])) == [b"phoneNumber,status\r\n"]


def test_csv_is_written_a_row_at_a_time() -> None:
    """Each row is one chunk, so that a long list is never held as text."""
    rows = csv_rows(["a"], ({"a": number} for number in range(3)))
    assert list(rows) == [b"a\r\n", b"0\r\n", b"1\r\n", b"2\r\n"]


def test_csv_cells_read_as_in_json() -> None:
    """Times, truth, numbers, lists and nothing have one form in both formats."""
    record = {
        "since": datetime(2026, 1, 1, tzinfo=UTC),
        "known": True,
        "position": -1,
        "senders": ["MG1", "*"],
        "evidence": None,
    }
    [_, row] = csv.reader(io.StringIO(written(record), newline=""))
    assert row == ["2026-01-01T00:00:00Z", "true", "-1", '["MG1","*"]', ""]


def test_csv_quotes_what_would_break_a_row() -> None:
    """Commas, quotes and line breaks in a cell stay in that cell."""
    text = 'a,"b"\r\nc'
    assert written({"x": text}) == 'x\r\n"a,""b""\r\nc"\r\n'


@pytest.mark.parametrize("number", ["+14155550100", "+4915112345678", "+1234567"])
def test_a_phone_number_in_csv_is_what_it_is(number: str) -> None:
    """An E.164 number is written as it is: programs read it, and it runs nothing."""
    assert written({"phoneNumber": number}) == f"phoneNumber\r\n{number}\r\n"


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+1+1", "+14155550100+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "\n="],
)
def test_a_formula_in_csv_is_text(text: str) -> None:
    """What a spreadsheet would run gets an apostrophe before it, in every column."""
    [_, [cell]] = csv.reader(io.StringIO(written({"phoneNumber": text}), newline=""))
    assert cell == f"'{text}"
