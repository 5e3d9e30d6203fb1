"""Rows as PostgreSQL reads them out of what is copied in."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from struct import unpack_from
from typing import Final
from uuid import UUID

from projections.projection import Row

_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_IDS: Final = ("subject_id", "message_id")
_NUMBERS: Final = ("position", "version")
_TIMES: Final = ("since", "updated_at", "occurred_at", "recorded_at")


def unpacked(rows: bytes, columns: Sequence[str]) -> list[Row]:
    """Rows as PostgreSQL reads them, which knows of each column what it holds."""
    found: list[Row] = []
    at = 0
    while at < len(rows):
        (count,) = unpack_from(">h", rows, at)
        assert count == len(columns)
        at += 2
        row: list[object] = []
        for column in columns:
            (length,) = unpack_from(">i", rows, at)
            at += 4
            row.append(None if length < 0 else _value(column, rows[at : at + length]))
            at += max(length, 0)
        found.append(tuple(row))
    return found


def _value(column: str, value: bytes) -> object:
    if column in _IDS:
        return UUID(bytes=value)
    if column in _NUMBERS:
        return int.from_bytes(value, "big")
    if column in _TIMES:
        passed = timedelta(microseconds=int.from_bytes(value, "big", signed=True))
        return _EPOCH + passed
    return value.decode()
