"""Reads the whole ledger in ranges: by subject, by position, by page.

For whoever audits all of it or builds a table anew, on a connection that the caller
holds, and so in its transaction. Gives rows as they are stored: what cannot be decoded
is for the caller to tell. Never opens what is sealed.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple, cast
from uuid import UUID

from ledger.domain.ids import Position, SubjectId
from ledger.store.codec import StoredRow
from ledger.store.database import Connection
from ledger.store.statements import statement

_READ_SLICE: Final = statement("ledger.store", "read_slice")
_READ_SLICE_AFTER: Final = statement("ledger.store", "read_slice_after")
_READ_ERASED: Final = statement("ledger.store", "read_erased_slice")
_READ_ERASED_SINCE: Final = statement("ledger.store", "read_erased_since")
_READ_ERASED_OF: Final = statement("ledger.store", "read_erased_of")
_READ_BETWEEN: Final = statement("ledger.store", "read_slice_between")
_DIGEST: Final = statement("ledger.store", "digest_positions")
_READ_SUBJECTS: Final = statement("ledger.store", "read_subjects_between")
_COUNT_POSITIONS: Final = statement("ledger.store", "count_positions")
_FIND_MISSING: Final = statement("ledger.store", "find_missing_positions")
_SIGNAL_PAGES: Final = statement("ledger.store", "count_signal_pages")
_SUM_SIGNALS: Final = statement("ledger.store", "sum_signals")

SCAN_SECONDS_MAX: Final = 300.0
"""A range of a cold table may take longer than a statement of the service."""

POSITIONS: Final = 100_000
"""How many positions are counted in one statement."""

PAGES: Final = 10_000
"""How many pages are added up in one statement."""


class SignalSum(NamedTuple):
    """What a part of ``signal_keys`` adds up to."""

    signals: int
    positions: int


async def read_slice(
    connection: Connection, first: UUID, last: UUID
) -> Sequence[StoredRow]:
    """The events of the subjects from ``first`` to ``last``, both included.

    Subject by subject, each one's in the order of its stream.
    """
    rows = await connection.fetch(_READ_SLICE, first, last, timeout=SCAN_SECONDS_MAX)
    # A Record unpacks as a StoredRow does; making one of each takes its time.
    return cast("list[StoredRow]", rows)


async def read_slice_after(
    connection: Connection, subject_id: UUID, version: int, last: UUID, limit: int
) -> Sequence[StoredRow]:
    """As ``read_slice``, from behind an event on, and so many at most."""
    rows = await connection.fetch(
        _READ_SLICE_AFTER, subject_id, version, last, limit, timeout=SCAN_SECONDS_MAX
    )
    return cast("list[StoredRow]", rows)


async def read_erased_slice(
    connection: Connection, first: UUID, last: UUID
) -> list[tuple[object, ...]]:
    """Who was erased among those subjects: id, what is known of it still, position."""
    rows = await connection.fetch(_READ_ERASED, first, last, timeout=SCAN_SECONDS_MAX)
    return [tuple(row) for row in rows]


async def read_erased_since(
    connection: Connection, position: Position
) -> frozenset[SubjectId]:
    """Who was erased after a position."""
    rows = await connection.fetch(
        _READ_ERASED_SINCE, position, timeout=SCAN_SECONDS_MAX
    )
    return frozenset(SubjectId(row[0]) for row in rows)


async def read_erased_of(
    connection: Connection, subject_ids: Iterable[UUID]
) -> dict[UUID, Position]:
    """Those of some subjects that were erased, and where."""
    rows = await connection.fetch(_READ_ERASED_OF, list(subject_ids))
    return {subject_id: Position(position) for subject_id, position in rows}


async def read_slice_between(
    connection: Connection, first: UUID, last: UUID, begin: int, end: int
) -> Sequence[StoredRow]:
    """The events of a range of subjects at positions ``begin`` to ``end``, in order."""
    span = (first, last, begin, end)
    rows = await connection.fetch(_READ_BETWEEN, *span, timeout=SCAN_SECONDS_MAX)
    return cast("list[StoredRow]", rows)


async def digest_positions(
    connection: Connection, first: int, last: int
) -> dict[int, tuple[int, int, int]]:
    """By slice of 64: how many events, and the halves of their digests' XOR."""
    span = (first, last)
    rows = await connection.fetch(_DIGEST, *span, timeout=SCAN_SECONDS_MAX)
    return {row[0]: (row[1], row[2], row[3]) for row in rows}


async def subjects_between(
    connection: Connection, first: int, last: int
) -> list[SubjectId]:
    """Who has an event in a range of positions."""
    span = (first, last)
    rows = await connection.fetch(_READ_SUBJECTS, *span, timeout=SCAN_SECONDS_MAX)
    return [SubjectId(row[0]) for row in rows]


def position_ranges(last: int, first: int = 1) -> Iterator[tuple[int, int]]:
    """``first`` to ``last`` in ranges of ``POSITIONS``, both ends included."""
    for begin in range(first, last + 1, POSITIONS):
        yield begin, min(begin + POSITIONS - 1, last)


async def missing_positions(
    connection: Connection, first: int, last: int, limit: int
) -> tuple[int, list[Position]]:
    """How many positions in a range have no event, and the first few of them."""
    span = (first, last)
    counted = await connection.fetchval(
        _COUNT_POSITIONS, *span, timeout=SCAN_SECONDS_MAX
    )
    missing = last - first + 1 - counted
    if not (missing and limit):
        return missing, []
    rows = await connection.fetch(_FIND_MISSING, *span, limit, timeout=SCAN_SECONDS_MAX)
    return missing, [Position(row[0]) for row in rows]


async def signal_pages(connection: Connection) -> int:
    """How many pages the signals take."""
    return int(await connection.fetchval(_SIGNAL_PAGES))


async def sum_signals(
    connection: Connection, first_page: int, position: Position
) -> SignalSum:
    """What ``PAGES`` pages of signals add up to, as far as ``position``."""
    pages = (first_page, 0), (first_page + PAGES, 0)
    row = await connection.fetchrow(
        _SUM_SIGNALS, *pages, position, timeout=SCAN_SECONDS_MAX
    )
    assert row is not None  # noqa: S101 - it counts, and a count has a row
    return SignalSum(row[0], int(row[1]))
