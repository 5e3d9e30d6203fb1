"""Files as rows: what is broken is refused by itself, and nothing is lost."""

import io

import pytest

from ledger.errors import UnusableFile
from ledger.imports.refusals import Refusal
from ledger.imports.rows import ROW_BYTES_MAX, Rows, read_rows


def rows_of(content: bytes) -> Rows:
    """A file with that content."""
    return read_rows(io.BytesIO(content))


def seen(content: bytes) -> list[tuple[int, object]]:
    """Each row's line, and its code or its last value."""
    return [
        (row.line, row.code)
        if isinstance(row, Refusal)
        else (row.line, [*row.fields.values()][-1])
        for row in rows_of(content).each
    ]


LONG = b"+1," + b"x" * (3 * ROW_BYTES_MAX)

CSV = {
    "unix": (b"phone,s\n+1,a\n+2,b\n", [(2, "a"), (3, "b")]),
    "windows, with a BOM": (b"\xef\xbb\xbfphone,s\r\n+1,a\r\n", [(2, "a")]),
    "no end of line": (b"phone,s\n+1,a", [(2, "a")]),
    "blank lines": (b"\n\nphone,s\n\n+1,a\n \n+2,b\n", [(5, "a"), (7, "b")]),
    "blanks around": (b" phone ; s \n +1 ; a b \n", [(2, "a b")]),
    "tabs": (b"phone\ts\n+1\ta\n", [(2, "a")]),
    "quoted": (b'phone,s\n+1,"a,""b""\nc"\n+2,d\n', [(2, 'a,"b"\nc'), (4, "d")]),
    "quoted end of a paragraph": (
        'phone,s\n+1,"a\u2028b"\n'.encode(),
        [(2, "a\u2028b")],
    ),
    "inch signs": (b'phone,s\n+1,5" a\n+2,6" b\n', [(2, '5" a'), (3, '6" b')]),
    "an open quote": (
        b'phone,s\n+1,"a\n+2,b\n+3,c\n',
        [(2, "invalid_csv"), (3, "b"), (4, "c")],
    ),
    "after a quote": (b'phone,s\n+1,"a"b\n+2,c\n', [(2, "invalid_csv"), (3, "c")]),
    "more values": (b"phone,s\n+1,a,b\n+2,c\n", [(2, "wrong_columns"), (3, "c")]),
    "fewer values": (b"phone,s\n+1\n+2,c\n", [(2, "wrong_columns"), (3, "c")]),
    "a NUL": (b"phone,s\n+1,\0\n+2,c\n", [(2, "nul_character"), (3, "c")]),
    "Latin-1": (b"phone,s\n+1,\xe9\n+2,c\n", [(2, "invalid_utf8"), (3, "c")]),
    "too long": (
        b"phone,s\n" + LONG + b"\n+2,c\n",
        [(2, "row_too_long"), (3, "c")],
    ),
    "too long, at the end": (b"phone,s\n" + LONG, [(2, "row_too_long")]),
    "only a header": (b"phone,s\n", []),
}


@pytest.mark.parametrize("name", CSV)
def test_rows_of_csv_are_read_or_refused_one_by_one(name: str) -> None:
    """Each line of the file is in a row, or in a refusal that says why."""
    content, expected = CSV[name]
    assert seen(content) == expected


NDJSON = {
    "objects": (b'{"a":"x"}\n\n{"a":"y"}', [(1, "x"), (3, "y")]),
    "with a BOM": (b'\xef\xbb\xbf{"a":"x"}\r\n', [(1, "x")]),
    "not JSON": (
        b'{"a":"x"}\n{"a":\n{"a":"y"}',
        [(1, "x"), (2, "invalid_json"), (3, "y")],
    ),
    "no object": (b'{"a":"x"}\n[1]\n', [(1, "x"), (2, "invalid_json")]),
    "half a character": (b'{"a":"\\ud800"}\n', [(1, "invalid_json")]),
}


@pytest.mark.parametrize("name", NDJSON)
def test_rows_of_ndjson_are_read_or_refused_one_by_one(name: str) -> None:
    """An object a line, whatever the other lines are."""
    content, expected = NDJSON[name]
    assert seen(content) == expected


UNUSABLE = {
    "empty": b"",
    "blank": b" \n\n",
    "UTF-16": "phone,s\n".encode("utf-16"),
    "UTF-16 without a BOM": "phone,s\n".encode("utf-16-le"),
    "two columns of one name": b"phone,phone\n",
    "a header that is no text": b"phone,\xff\n",
    "ends of lines of an old Mac": b"phone,s\r+1,a\r+2,b\r",
    "a header that is too long": LONG,
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_a_file_without_a_usable_beginning_is_refused(name: str) -> None:
    """It says so before anything is recorded."""
    with pytest.raises(UnusableFile):
        rows_of(UNUSABLE[name])


def test_what_cannot_be_read_is_reported_as_it_came() -> None:
    """Bytes that are no text are written out; a very long row is cut."""
    [latin] = [*rows_of(b"phone,s\n+1,\xe9\r\n").each]
    assert isinstance(latin, Refusal)
    assert latin.row == "+1,\\xe9"
    [long] = [*rows_of(b"phone,s\n" + LONG).each]
    assert isinstance(long, Refusal)
    assert 1_000 < len(long.row) < 10_000


class Endless(io.BytesIO):
    """A file without an end of line, that counts what is asked for at once."""

    def __init__(self, megabytes: int) -> None:
        super().__init__(b"phone,s\n")
        self._left = megabytes
        self.most = 0

    def readline(self, size: int | None = -1, /) -> bytes:
        """The header, then x after x."""
        self.most = max(self.most, size or -1)
        line = super().readline(size)
        if line or not self._left:
            return line
        self._left -= 1
        return b"x" * (size or 0)


def test_a_line_of_any_length_takes_a_bounded_memory() -> None:
    """It is refused by its beginning, and the rest is passed over in pieces."""
    file = Endless(megabytes=50)
    each = read_rows(file).each
    assert [row.code for row in each if isinstance(row, Refusal)] == ["row_too_long"]
    assert 0 < file.most <= 1 << 20
