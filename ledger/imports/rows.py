"""A file as rows, whatever its size: one row is in memory, and never the file.

CSV (RFC 4180, with a header) or NDJSON (an object a line), in UTF-8. Never knows what a
row means. The subtle part is what is broken: a row that cannot be read is refused by
itself, and the next line is read as if it had not been there, so that a quote that
nobody closes does not swallow the rows behind it.
"""

import csv
import io
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Final, Literal, NamedTuple

import orjson

from ledger.errors import UnusableFile
from ledger.imports.refusals import Refusal, RowRefused

ROW_BYTES_MAX: Final = 65_536
_SHOWN_BYTES_MAX: Final = 2_000
_BUFFER_BYTES: Final = 1 << 20

Format = Literal["csv", "ndjson"]
Fields = dict[str, object]

_BOM: Final = b"\xef\xbb\xbf"
_WIDE: Final = (b"\xff\xfe", b"\xfe\xff")
_SEPARATORS: Final = ",;\t"
_GUARDED: Final = frozenset("=+-@\t\r\n'")


class Row(NamedTuple):
    """A row that could be read."""

    line: int
    """Where it begins in the file, from 1."""
    fields: Fields
    """By the names that the file gives them; of CSV, text without outer blanks."""
    raw: bytes

    def refused(self, why: RowRefused) -> Refusal:
        """Its refusal."""
        return Refusal(self.line, why.code, why.reason, shown(self.raw))


class Rows(NamedTuple):
    """An opened file."""

    format: Format
    names: tuple[str, ...] | None
    """The header's, in order; None where each row has names of its own."""
    bytes_read: Callable[[], int]
    each: Iterator[Row | Refusal]


class _Line(NamedTuple):
    number: int
    raw: bytes


def read_rows(file: IO[bytes], kind: Format | None = None) -> Rows:
    """The rows of a file that was opened from its start; blank lines are none.

    Without ``kind`` it is NDJSON if it begins with a brace.

    Raises:
        UnusableFile: it is empty, in another encoding, or its header cannot be used.
    """
    lines = _lines(file)
    first = next((line for line in lines if _without_bom(line).strip()), None)
    if first is None:
        raise UnusableFile("the file is empty")
    if first.raw.startswith(_WIDE) or b"\0" in first.raw:
        raise UnusableFile("the file is not in UTF-8: save it as UTF-8")
    first = first._replace(raw=_without_bom(first))
    if kind is None:
        kind = "ndjson" if first.raw.lstrip().startswith(b"{") else "csv"
    if kind == "ndjson":
        each = _ndjson_rows(first, lines)
        return Rows(kind, None, file.tell, each)
    header = _Header(first)
    return Rows(kind, header.names, file.tell, _csv_rows(header, lines))


def open_file(path: Path) -> IO[bytes]:
    """The file, to be read from its start to its end.

    Raises:
        UnusableFile: it cannot be opened.
    """
    try:
        return path.open("rb", buffering=_BUFFER_BYTES)
    except OSError as error:
        raise UnusableFile(f"cannot read {path}: {error.strerror}") from error


def shown(raw: bytes) -> str:
    """A row as it came, without its line's end; a very long one only in part."""
    cut = raw[:_SHOWN_BYTES_MAX] if len(raw) > ROW_BYTES_MAX else raw
    return cut.rstrip(b"\r\n").decode("utf-8", "backslashreplace")


def _lines(file: IO[bytes]) -> Iterator[_Line]:
    """Each line with its number; one that is too long is cut, and longer than allowed.

    Never holds more than the limit, however long a line is.
    """
    number = 0
    while raw := file.readline(ROW_BYTES_MAX + 1):
        number += 1
        yield _Line(number, raw)
        while len(raw) > ROW_BYTES_MAX and not raw.endswith(b"\n"):
            raw = file.readline(_BUFFER_BYTES)
            if len(raw) < _BUFFER_BYTES:
                break


def _without_bom(line: _Line) -> bytes:
    return line.raw.removeprefix(_BOM) if line.number == 1 else line.raw


def _text(raw: bytes) -> str:
    """A row as text.

    Raises:
        RowRefused: it is too long, or holds what is no text.
    """
    if len(raw) > ROW_BYTES_MAX:
        raise RowRefused("row_too_long", f"a row has at most {ROW_BYTES_MAX} bytes")
    if b"\0" in raw:
        raise RowRefused("nul_character", "the row has a NUL character")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise RowRefused(
            "invalid_utf8", f"the row is not UTF-8 from its byte {error.start + 1} on"
        ) from None


def _ndjson_rows(first: _Line, lines: Iterator[_Line]) -> Iterator[Row | Refusal]:
    yield _ndjson_row(first)
    for line in lines:
        if not line.raw.isspace():
            yield _ndjson_row(line)


def _ndjson_row(line: _Line) -> Row | Refusal:
    row = Row(line.number, {}, line.raw)
    try:
        return row._replace(fields=_object(_text(line.raw)))
    except RowRefused as why:
        return row.refused(why)


def _object(text: str) -> Fields:
    try:
        fields = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise RowRefused("invalid_json", f"the line is not JSON: {error.msg}") from None
    if not isinstance(fields, dict):
        raise RowRefused("invalid_json", "the line is not a JSON object")
    return fields


class _Header:
    """The first row of a CSV file: the columns' names, and what separates them."""

    def __init__(self, line: _Line) -> None:
        try:
            text = _text(line.raw)
            # The one that is there most often; a comma where there is none.
            self.separator = max(_SEPARATORS, key=text.count)
            [cells] = _parsed(text, self.separator)
        except (RowRefused, csv.Error, ValueError) as why:
            raise UnusableFile(f"the header cannot be read: {why}") from None
        self.names = tuple(
            name.strip() or f"column {place}" for place, name in enumerate(cells, 1)
        )
        twice = {name for name in self.names if self.names.count(name) > 1}
        if twice:
            raise UnusableFile(f"two columns are called {', '.join(sorted(twice))}")


def _csv_rows(header: _Header, lines: Iterator[_Line]) -> Iterator[Row | Refusal]:
    for record, is_whole in _records(lines):
        for line in _apart(record, header) if b"\n" in record.raw[:-1] else (record,):
            if line.raw.isspace():
                continue
            yield _csv_row(header, line, is_whole=is_whole)


def _csv_row(header: _Header, line: _Line, *, is_whole: bool) -> Row | Refusal:
    try:
        fields = _named(header, _text(line.raw), is_whole=is_whole)
        return Row(line.number, fields, line.raw)
    except RowRefused as why:
        return Row(line.number, {}, line.raw).refused(why)


def _records(lines: Iterator[_Line]) -> Iterator[tuple[_Line, bool]]:
    """Rows that may have line breaks in quotes, and whether the quotes are closed."""
    waiting: deque[_Line] = deque()

    def following() -> _Line | None:
        return waiting.popleft() if waiting else next(lines, None)

    while line := following():
        if line.raw.count(b'"') % 2 == 0 or len(line.raw) > ROW_BYTES_MAX:
            yield line, True
            continue
        more: list[_Line] = []
        size = len(line.raw)
        while size <= ROW_BYTES_MAX and (one := following()):
            more.append(one)
            size += len(one.raw)
            if one.raw.count(b'"') % 2:
                break
        raw = b"".join((line.raw, *(one.raw for one in more)))
        if size <= ROW_BYTES_MAX and raw.count(b'"') % 2 == 0:
            yield line._replace(raw=raw), True
        else:
            waiting.extendleft(reversed(more))
            yield line, False


def _apart(record: _Line, header: _Header) -> Iterable[_Line]:
    """The lines of ``record``, where its quotes join nothing: they are inch signs."""
    try:
        is_one = len(_parsed(_text(record.raw), header.separator)) == 1
    except (RowRefused, csv.Error):
        is_one = True
    if is_one:
        return (record,)
    parts = record.raw.splitlines(keepends=True)
    return [_Line(record.number + place, raw) for place, raw in enumerate(parts)]


def _named(header: _Header, text: str, *, is_whole: bool) -> Fields:
    if not is_whole:
        raise RowRefused("invalid_csv", "a quote is never closed")
    try:
        [cells] = _parsed(text, header.separator)
    except (csv.Error, ValueError) as error:
        raise RowRefused("invalid_csv", f"the row is not CSV: {error}") from None
    if len(cells) != len(header.names):
        raise RowRefused(
            "wrong_columns",
            f"the row has {len(cells)} values, and the header {len(header.names)}",
        )
    values = map(_bare, cells) if "'" in text else map(str.strip, cells)
    return dict(zip(header.names, values, strict=True))


def _bare(cell: str) -> str:
    """Without outer blanks, and without what keeps a spreadsheet from running it.

    Our own exports, as spreadsheets do, put an apostrophe before such a text.
    """
    given = cell.strip()
    return given[1:] if given[:1] == "'" and given[1:2] in _GUARDED else given


def _parsed(text: str, separator: str) -> list[list[str]]:
    if '"' not in text and "\r" not in text[:-2]:
        return [text.rstrip("\r\n").split(separator)]  # The same, in half the time.
    lines = io.StringIO(text, newline="\n") if "\n" in text[:-1] else (text,)
    return list(csv.reader(lines, delimiter=separator, strict=True))
