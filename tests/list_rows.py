"""Rows as the projection writes them, put straight into its tables.

A number's subject is any UUID here: lists do not look at it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ledger.domain.ids import Answer
from ledger.store.database import Connection

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)


def at(minutes: float) -> datetime:
    """A time some minutes after the new year."""
    return NEW_YEAR + timedelta(minutes=minutes)


@dataclass(frozen=True, slots=True)
class NumberRow:
    """A row of phone_numbers_v1."""

    phone_number: str
    status: Answer
    since: datetime
    position: int
    version: int
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class SenderRow:
    """A row of phone_number_senders_v1."""

    phone_number: str
    sender: str
    status: Answer
    since: datetime
    position: int
    version: int


_NUMBER = """INSERT INTO phone_numbers_v1
VALUES (md5($1)::uuid, $1, $2, $3, $4, $5, $6)
ON CONFLICT (subject_id) DO UPDATE SET status = $2, since = $3, position = $4,
    version = $5, updated_at = $6"""
_SENDER = """INSERT INTO phone_number_senders_v1
VALUES (md5($1)::uuid, $1, $2, $3, $4, $5, $6)"""
_FILL = """INSERT INTO phone_numbers_v1
SELECT md5(i::text)::uuid, '+1415' || lpad(i::text, 7, '0'),
    CASE WHEN i % $2 = 0 THEN 'in' ELSE 'out' END,
    timestamptz '2026-01-01Z' + i / 3 * interval '1 minute',
    i, 1, timestamptz '2026-01-01Z' + i / 3 * interval '1 minute'
FROM generate_series(1, $1) AS i ORDER BY hashint4(i)"""
_FILL_SENDERS = """INSERT INTO phone_number_senders_v1
SELECT subject_id, phone_number, 'MG' || s, status, since, position, version
FROM phone_numbers_v1, generate_series(1, 2) AS s ORDER BY hashtext(phone_number)"""


async def put_numbers(connection: Connection, rows: Iterable[NumberRow]) -> None:
    """Write rows, over those of the same numbers."""
    await connection.executemany(
        _NUMBER,
        [
            (r.phone_number, r.status, r.since, r.position, r.version, r.updated_at)
            for r in rows
        ],
    )


async def put_senders(connection: Connection, rows: Iterable[SenderRow]) -> None:
    """Write rows of senders."""
    await connection.executemany(
        _SENDER,
        [
            (r.phone_number, r.sender, r.status, r.since, r.position, r.version)
            for r in rows
        ],
    )


async def fill(connection: Connection, count: int, *, in_every: int = 2) -> None:
    """Many numbers, scattered over the table's pages; one in ``in_every`` is in."""
    await connection.execute(_FILL, count, in_every)


async def fill_senders(connection: Connection) -> None:
    """Two senders that heard from each number what it says now."""
    await connection.execute(_FILL_SENDERS)
