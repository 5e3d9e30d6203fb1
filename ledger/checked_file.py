"""A CSV file, written back with columns that say what each number says.

Every row keeps the bytes that it came with, and gets cells after them: columns,
quoting, order and whatever a spreadsheet would run stay as they were. Never holds more
than some rows. The subtle part is what one row is: lines, until every quote is closed.
"""

import csv
from collections.abc import Iterable, Iterator, Sequence
from io import StringIO
from itertools import islice
from typing import IO, Final, NamedTuple

import orjson

from ledger.errors import InvalidRequest, NoNumberColumn
from ledger.number_column import NumberColumn, cells_of, delimiter_of, find_column

ADDED: Final = (
    "consentStatus",
    "consentPosition",
    "consentSince",
    "consentNumber",
    "consentError",
    "consentErased",
)
RECEIPT_ADDED: Final = ("consentReceipt", "consentSalt")
_SALT_COLUMNS: Final = ("salt", RECEIPT_ADDED[1])
INVALID_ROW: Final = "invalid_row"
"""A row whose cells cannot be told apart, or are more than the header's."""

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_ROW_BYTES_MAX: Final = 1_048_576


class Row(NamedTuple):
    """A row as it is written, and what is in the column of numbers."""

    written: bytes
    """Without the end of its line, and filled up with empty cells."""
    end: bytes
    given: str | None
    """None where it is not known which cell is whose."""


class Table:
    """A file that is read row by row."""

    def __init__(self, lines: Iterable[bytes], wanted: str | None) -> None:
        """Read the header.

        Raises:
            NoNumberColumn: the column is not there, or a column to be added is.
            InvalidRequest: a quote is not closed.
        """
        self._rows = _rows(lines)
        self._header, end = next(self._rows, (b"", b""))
        self._end = end or b"\n"
        text = _decoded(self._header.removeprefix(_BYTE_ORDER_MARK))
        try:
            self.column: NumberColumn = find_column(text, wanted)
        except csv.Error as error:
            raise InvalidRequest(f"the header cannot be read: {error}") from None
        if taken := {*ADDED, *RECEIPT_ADDED}.intersection(self.column.header):
            raise NoNumberColumn(f"the file has a column {min(taken)} already")

    def header(self, added: Sequence[str]) -> bytes:
        """The header with more columns."""
        return self.with_cells(Row(self._header, self._end, None), added)

    def rows(self) -> Iterator[Row | bytes]:
        """The rows after the header; bytes, where a line is empty.

        Raises:
            InvalidRequest: a quote is not closed.
        """
        delimiter, place, header = self.column
        for written, end in self._rows:
            if not written.strip():
                yield written + end
                continue
            cells = _cells(written, delimiter)
            if cells is None or len(cells) > len(header):
                yield Row(written, end or self._end, None)
                continue
            filled = written + delimiter.encode() * (len(header) - len(cells))
            given = cells[place] if place < len(cells) else ""
            yield Row(filled, end or self._end, given)

    def with_cells(self, row: Row, cells: Sequence[object]) -> bytes:
        """The row with more cells after its own; None is an empty one."""
        buffer = StringIO(newline="")
        writer = csv.writer(buffer, delimiter=self.column.delimiter, lineterminator="")
        writer.writerow(["", *cells])
        return row.written + buffer.getvalue().encode() + row.end


def _rows(lines: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Each row, and the end of its line."""
    row = b""
    for line in lines:
        row += line
        if row.count(b'"') % 2 == 0:
            written = row.rstrip(b"\r\n")
            yield written, row[len(written) :]
            row = b""
        elif len(row) > _ROW_BYTES_MAX:
            break
    if row:
        raise InvalidRequest("a quote in the file is not closed")


def _cells(written: bytes, delimiter: str) -> list[str] | None:
    """The cells of a row; None where no program would read it as one."""
    try:
        return cells_of(_decoded(written), delimiter)
    except csv.Error:
        return None


def _decoded(written: bytes) -> str:
    """For reading: what is written again is the bytes themselves."""
    return written.decode(errors="replace")


def salt_in(answer: IO[bytes]) -> str:
    """The salt of a saved answer: a file of ours, or what the API has answered.

    Raises:
        InvalidRequest: there is none in it.
    """
    start = answer.read(1)
    answer.seek(0)
    try:
        if start == b"{":
            return str(orjson.loads(answer.read())["receipt"]["salt"])
        rows = _rows(answer)
        header = _decoded(next(rows)[0].removeprefix(_BYTE_ORDER_MARK))
        delimiter = delimiter_of(header)
        names, *first = (
            cells_of(row, delimiter)
            for row in (header, *(_decoded(w) for w, _ in islice(rows, 1)))
        )
        place = next(i for i, name in enumerate(names) if name in _SALT_COLUMNS)
        return first[0][place]
    except (ValueError, LookupError, StopIteration, TypeError):
        raise InvalidRequest("the answer has no salt: it was not recorded") from None
