"""Why a row is not recorded: a stable code, and a sentence about this row.

Never stops an import: what is refused is reported with the row as it came, so that it
can be put right and imported by itself.
"""

import csv
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal, NamedTuple, Protocol

import orjson

from ledger.errors import InvalidRequest

Code = Literal[
    "ambiguous_columns",
    "invalid_csv",
    "invalid_evidence",
    "invalid_json",
    "invalid_key",
    "invalid_phone_number",
    "invalid_sender",
    "invalid_time",
    "invalid_utf8",
    "key_reused",
    "missing_phone_number",
    "missing_status",
    "missing_time",
    "nul_character",
    "redacted_number",
    "row_too_long",
    "time_before_1970",
    "time_in_future",
    "time_without_zone",
    "unknown_status",
    "unusable_text",
    "wrong_columns",
]

_COLUMNS = ("line", "code", "reason", "row")


class RowRefused(Exception):
    """This row cannot be recorded; the others can."""

    def __init__(self, code: Code, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Refusal(NamedTuple):
    """A row that is not recorded."""

    line: int
    """Where it begins in the file, from 1."""
    code: Code
    reason: str
    row: str
    """As it came; what cannot be read as UTF-8 is written as ``\\xff``."""


class Report(Protocol):
    """Where refusals go."""

    def write(self, refusal: Refusal) -> None:
        """Add one."""
        ...


class NoReport:
    """For who wants to know only how many there were."""

    def write(self, refusal: Refusal) -> None:
        """Forget it."""


class CsvReport:
    """A row for each, under a header."""

    def __init__(self, file: IO[str]) -> None:
        self._rows = csv.writer(file)
        self._rows.writerow(_COLUMNS)

    def write(self, refusal: Refusal) -> None:
        """Add one."""
        self._rows.writerow(refusal)


class NdjsonReport:
    """An object a line for each."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, refusal: Refusal) -> None:
        """Add one."""
        self._file.write(orjson.dumps(refusal._asdict()).decode() + "\n")


@contextmanager
def opened_report(path: Path | None) -> Iterator[Report]:
    """A new file of refusals, which only its owner reads: its rows are personal.

    NDJSON where the name ends in ``.ndjson`` or ``.jsonl``, else CSV.

    Raises:
        InvalidRequest: it cannot be made, or is there already.
    """
    if path is None:
        yield NoReport()
        return
    with _new_file(path) as file:
        is_json = path.suffix.lower() in (".ndjson", ".jsonl")
        yield NdjsonReport(file) if is_json else CsvReport(file)


def _new_file(path: Path) -> IO[str]:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise InvalidRequest(f"cannot write {path}: {error.strerror}") from error
    # A line at a time: what was found before a kill is in it.
    return io.open(  # noqa: UP020 - the descriptor makes it private from the start
        descriptor, "w", buffering=1, encoding="utf-8", newline=""
    )
