"""A file keeps its bytes, and gets cells after them."""

from io import BytesIO

import pytest

from ledger.checked_file import Row, Table, salt_in
from ledger.errors import InvalidRequest, NoNumberColumn
from ledger.number_column import find_column

SALT = "0123456789abcdef0123456789abcdef"


def written_back(content: bytes, wanted: str | None = None) -> bytes:
    """A file with a column that repeats what was found in that of numbers."""
    table = Table(BytesIO(content), wanted)
    return table.header(["found"]) + b"".join(
        row if isinstance(row, bytes) else table.with_cells(row, [row.given])
        for row in table.rows()
    )


KEPT = [
    (b"phone,name\n+1,Ann\n", b"phone,name,found\n+1,Ann,+1\n"),
    # Quotes, a mark of byte order, the ends of lines, a formula, another encoding.
    (
        b'\xef\xbb\xbf"Phone Number";b\r\n"+1";"a ""b"";\nc"\r\n',
        b'\xef\xbb\xbf"Phone Number";b;found\r\n"+1";"a ""b"";\nc";+1\r\n',
    ),
    (b"a\tmobile\n=1+1\t+1\n", b"a\tmobile\tfound\n=1+1\t+1\t+1\n"),
    (b"name,phone\nJos\xe9,+1", b"name,phone,found\nJos\xe9,+1,+1\n"),
    # Empty lines stay, short rows are filled up, long ones have no number.
    (b"phone,b\n\n+1\n,\n", b"phone,b,found\n\n+1,,+1\n,,\n"),
    (b"phone\n+1,x\n", b"phone,found\n+1,x,\n"),
    (b"phone\n", b"phone,found\n"),
    (b"phone", b"phone,found\n"),
]


@pytest.mark.parametrize(("content", "expected"), KEPT)
def test_every_row_keeps_its_bytes(content: bytes, expected: bytes) -> None:
    """Columns, quoting, order and ends of lines are as they came."""
    assert written_back(content) == expected


def test_a_quote_that_is_not_closed_is_refused() -> None:
    """And not all of the rest of a file taken for one cell."""
    with pytest.raises(InvalidRequest, match="quote"):
        written_back(b'phone\n"+1\n+2\n')


def test_two_stray_quotes_make_a_row_without_a_number() -> None:
    """Whose cells are whose is then not known."""
    table = Table(BytesIO(b'phone,b\n+1,5" a\n+2,6" b\n+3,c\n'), None)
    givens = [row.given for row in table.rows() if isinstance(row, Row)]
    assert givens == [None, "+3"]


HEADERS = [
    ("id,phone_number,mobile", None, 1),
    ("PHONENUMBER", None, 0),
    ("a;Mobile Phone", None, 1),
    ("home,work", "work", 1),
    ("id,name", None, None),
    ("phone,mobile", None, None),
    ("phone,phone", "phone", None),
    ("", None, None),
]


@pytest.mark.parametrize(("header", "wanted", "place"), HEADERS)
def test_the_column_is_named_or_is_the_only_one(
    header: str, wanted: str | None, place: int | None
) -> None:
    """Where two could be meant, none is."""
    if place is None:
        with pytest.raises(NoNumberColumn):
            find_column(header, wanted)
    else:
        assert find_column(header, wanted).place == place


def test_a_file_is_not_answered_twice() -> None:
    """Which of two answers would count?"""
    with pytest.raises(NoNumberColumn, match="already"):
        written_back(b"phone,consentStatus\n")


def test_the_salt_is_found_in_what_was_saved() -> None:
    """In JSON, and in the first row of a table."""
    json = b'{"results":[],"receipt":{"id":"x","salt":"%b"}}' % SALT.encode()
    table = b"given,receipt,salt\n+1,x,%b\n+2,,\n" % SALT.encode()
    assert [salt_in(BytesIO(saved)) for saved in (json, table)] == [SALT, SALT]


@pytest.mark.parametrize("saved", [b"", b"{}", b"{", b"a,b\n1,2\n", b"salt\n", b'"'])
def test_an_answer_without_a_salt_says_so(saved: bytes) -> None:
    """It was not recorded, or it is no answer."""
    with pytest.raises(InvalidRequest):
        salt_in(BytesIO(saved))
