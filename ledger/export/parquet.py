"""Events as Parquet: typed columns, a group of rows at a time.

A Parquet file cannot be gone on with: its index is at its end. So an export gathers
lines, which can, and this makes them a file once they are all there; killed here, it
does only this again. Needs pyarrow, which is installed only where it is wanted.
"""

import os
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final

import orjson

from ledger.errors import InvalidRequest
from ledger.event_record import record_types
from ledger.export.rows import as_text

ROWS_MAX: Final = 10_000
"""Rows in a group: so many are held at once."""


def require_pyarrow() -> None:
    """Refuse before anything was read.

    Raises:
        InvalidRequest: pyarrow is not installed.
    """
    try:
        import pyarrow.parquet  # noqa: F401, PLC0415 - an extra; slow to import
    except ImportError as error:
        raise InvalidRequest(
            "parquet needs pyarrow: pip install 'consent-ledger[parquet]'"
        ) from error


def write_parquet(lines: Path, path: Path, names: Sequence[str]) -> None:
    """Make ``path`` of a file of lines, on disk, and readable by its owner alone."""
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import parquet  # noqa: PLC0415

    types = record_types()
    of_type = {int: pa.int64(), str: pa.string(), datetime: pa.timestamp("us", "UTC")}
    schema = pa.schema([(name, of_type[types[name]]) for name in names])
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        with parquet.ParquetWriter(file, schema, compression="zstd") as writer:
            for group in _groups(lines):
                columns = {
                    name: [_value(record.get(name), types[name]) for record in group]
                    for name in names
                }
                writer.write_table(pa.table(columns, schema=schema))
        file.flush()
        os.fsync(file.fileno())


def _groups(lines: Path) -> Iterator[list[dict[str, Any]]]:
    with lines.open("rb") as file:
        while group := [orjson.loads(line) for line in islice(file, ROWS_MAX)]:
            yield group


def _value(value: object, kind: type) -> object:
    if value is None or isinstance(value, int):
        return value
    if not isinstance(value, str):
        return as_text(value)
    return datetime.fromisoformat(value) if kind is datetime else value
