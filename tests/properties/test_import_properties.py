"""Laws of importing, over files that nobody has thought of."""

import csv
import io
from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as some

from ledger.errors import UnusableFile
from ledger.imports.interpret import Interpreter, Rules
from ledger.imports.refusals import Refusal, RowRefused
from ledger.imports.rows import read_rows

CELLS = some.text(
    some.characters(
        codec="utf-8", exclude_characters="\0\r", exclude_categories=["Cs"]
    ),
    max_size=20,
)
RULES = Rules(source="any", file="any.csv", actor="cli:any", status="out")


@given(table=some.lists(some.tuples(CELLS, CELLS), max_size=8))
def test_what_is_written_as_csv_is_read_back(table: list[tuple[str, str]]) -> None:
    """Whatever is in it: quotes, separators, ends of lines; but for outer blanks."""
    file = io.StringIO(newline="")
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow(("phone", "note"))
    # A row of blanks alone is no row.
    kept = [("+1", second) for _, second in table]
    rows.writerows(kept)
    read = [*read_rows(io.BytesIO(file.getvalue().encode())).each]
    assert [row.fields for row in read if not isinstance(row, Refusal)] == [
        {"phone": first, "note": second.strip()} for first, second in kept
    ]


@given(
    junk=some.lists(some.binary(max_size=30) | some.sampled_from([b'"', b'a,"b', b"{"]))
)
def test_no_file_stops_the_reading(junk: list[bytes]) -> None:
    """Each line that is not blank is in a row or in a refusal, and in one alone."""
    lines = [line.replace(b"\n", b"").replace(b"\r", b"") for line in junk]
    content = b"\n".join((b"phone,note", *lines))
    read = [*read_rows(io.BytesIO(content)).each]
    reader = Interpreter(RULES, ("phone", "note"))
    for row in read:
        if not isinstance(row, Refusal):
            with suppress(RowRefused):
                reader.interpret(row)
    found = [row.line for row in read]
    assert found == sorted(set(found))
    if b'"' not in content:
        full = [n for n, line in enumerate(lines, start=2) if line.strip()]
        assert found == full


@given(content=some.binary(max_size=200))
def test_no_bytes_are_more_than_a_row_or_a_refusal(content: bytes) -> None:
    """What is no file at all is said to be none."""
    try:
        rows = read_rows(io.BytesIO(content))
    except UnusableFile:
        return
    assert all(row.line > 0 for row in rows.each)
