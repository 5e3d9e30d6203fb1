"""Is what we serve what the events say? Folds the whole ledger and compares.

Goes through all subjects slice by slice, each in one short transaction with one
snapshot: its events, how far each projection has come, and its rows; so it can run
beside a service at work, needs memory for a few slices, and holds nothing up. Never
writes. What no single slice shows comes last: whether every position has its event, and
whether the signals that were counted are those that are there.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from ledger.domain.ids import Position, SubjectId
from ledger.errors import MasterKeyMissing
from ledger.progress import Advance
from ledger.store.codec import StoredRow
from ledger.store.database import Connection, Pool, translated
from ledger.store.keyring import Keyring
from ledger.store.master import MasterKeys
from ledger.store.scan import (
    PAGES,
    SCAN_SECONDS_MAX,
    SignalSum,
    missing_positions,
    position_ranges,
    read_erased_slice,
    read_slice,
    signal_pages,
    sum_signals,
)
from ledger.store.sealing import SubjectKey
from ledger.store.statements import statement
from projections.comparison import (
    EVENTS,
    Difference,
    Kind,
    Stand,
    Streams,
    compare,
    compare_keys,
    opened_numbers,
    streams_of,
)
from projections.projection import Projection, Row
from projections.slices import Slice, slices, slices_for

_READ_CHECKPOINTS = statement("projections", "read_checkpoints")

EVENTS_A_SLICE: Final = 4096
"""What one transaction reads, about: some megabytes, and some tenths of a second."""

READERS: Final = 2
"""One slice is read while another is compared."""

EXAMPLES_MAX: Final = 20
CHECKPOINTS: Final = "projections"


class Standing(NamedTuple):
    """Where the ledger is, and each projection by name and version."""

    position: Position
    checkpoints: Mapping[tuple[str, int], Position]

    def checkpoint(self, projection: Projection) -> Position | None:
        """Where ``projection`` is; None where its row is gone."""
        return self.checkpoints.get((projection.name, projection.version))


@dataclass(slots=True)
class Report:
    """What was compared, and what differs."""

    position: Position
    """Where the ledger was at the beginning: up to here nothing may be missing."""
    examples_max: int = EXAMPLES_MAX
    events: int = 0
    subjects: int = 0
    erased: int = 0
    rows: Counter[str] = field(default_factory=Counter)
    """By table."""
    checkpoints: dict[str, Position] = field(default_factory=dict)
    """Of each projection: the least that it was compared at."""
    differences: Counter[tuple[str, Kind]] = field(default_factory=Counter)
    """How many, by table and kind."""
    examples: list[Difference] = field(default_factory=list)

    def add(self, found: Iterable[Difference]) -> None:
        """Count differences, and keep the first few."""
        for difference in found:
            self.differences[difference.table, difference.kind] += 1
            if len(self.examples) < self.examples_max:
                self.examples.append(difference)

    def compared(self, name: str, checkpoint: Position) -> None:
        """Note how far a projection was when it was compared."""
        self.checkpoints[name] = min(self.checkpoints.get(name, checkpoint), checkpoint)


class _Read(NamedTuple):
    """A slice as one snapshot has it."""

    standing: Standing
    events: Sequence[StoredRow]
    keys: Mapping[SubjectId, SubjectKey | None]
    """None where it does not open."""
    erased: Sequence[Row]
    rows: Sequence[Sequence[Sequence[Row]]]
    """Of each projection, of each of its tables."""


class Check:
    """Compares every row of projections with the events."""

    def __init__(
        self, pool: Pool, masters: MasterKeys, projections: Sequence[Projection]
    ) -> None:
        self._pool = pool
        self._masters = masters
        self._projections = projections
        self._signals = SignalSum(0, 0)

    async def position(self) -> Position:
        """Where the ledger is now: as many events as there are to fold.

        Raises:
            StoreUnavailable: the database cannot be read now.
        """
        with translated():
            async with self._pool.acquire() as connection:
                return (await _standing(connection)).position

    async def run(
        self, position: Position, advance: Advance, *, examples_max: int = EXAMPLES_MAX
    ) -> Report:
        """Compare everything; ``advance`` is told of each of the events to come.

        ``position`` is where the ledger was at the beginning. What was recorded since
        is compared as far as a projection has come, and not counted.

        Raises:
            StoreUnavailable: the database cannot be read now.
        """
        report = Report(position, examples_max)
        self._signals = SignalSum(0, 0)
        left = slices(slices_for(position, EVENTS_A_SLICE))
        with translated():
            async with self._pool.acquire() as connection:
                standing = await _standing(connection)
            report.add(self._misplaced(standing))
            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(READERS):
                        group.create_task(self._go_through(left, report, advance))
            except ExceptionGroup as errors:
                # Two that fail at once fail for one reason.
                raise errors.exceptions[0] from None
            async with self._pool.acquire() as connection:
                report.add(await self._missing(connection, report))
                report.add(await self._unequal_signals(connection, report))
        return report

    async def _go_through(
        self, left: Iterator[Slice], report: Report, advance: Advance
    ) -> None:
        """Compare slices while some are left, which another reader takes from too."""
        async with self._pool.acquire() as connection:
            for part in left:
                advance(self._compare(await self._read(connection, part), report))

    async def _read(self, connection: Connection, part: Slice) -> _Read:
        """Everything of a slice at one moment."""
        span = (part.first, part.last)
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            standing = await _standing(connection)
            events = await read_slice(connection, *span)
            ids = {SubjectId(row[0]): None for row in events}
            keys = await _keys(Keyring(connection, self._masters), ids)
            rows = [
                [
                    [
                        tuple(row)
                        for row in await connection.fetch(
                            table.read_slice, *span, timeout=SCAN_SECONDS_MAX
                        )
                    ]
                    for table in projection.tables
                ]
                for projection in self._projections
            ]
            erased = await read_erased_slice(connection, *span)
        return _Read(standing, events, keys, erased, rows)

    def _compare(self, read: _Read, report: Report) -> int:
        """Compare a slice; how many of the events to come it had."""
        streams = streams_of(read.events, read.standing.position)
        report.add(streams.differences)
        report.add(compare_keys(streams, read.keys, read.erased))
        numbers, unopened = opened_numbers(streams, read.keys)
        report.add(unopened)
        for projection, stored in zip(self._projections, read.rows, strict=True):
            checkpoint = read.standing.checkpoint(projection)
            if checkpoint is None:
                continue
            report.compared(_name(projection), checkpoint)
            report.add(compare(Stand(projection, checkpoint, stored), streams, numbers))
            for table, rows in zip(projection.tables, stored, strict=True):
                report.rows[table.name] += len(rows)
        report.subjects += len(streams.people)
        report.erased += len(streams.erased)
        return self._count(streams, read.events, report)

    def _count(
        self, streams: Streams, events: Sequence[StoredRow], report: Report
    ) -> int:
        """Count what was there at the beginning, and what of it signals have made."""
        positions = [row[4] for row in events if row[4] <= report.position]
        # An erasure is the one event that is appended without a signal.
        unsignalled = [p for p, _ in streams.erased.values() if p <= report.position]
        self._signals = SignalSum(
            self._signals.signals + len(positions) - len(unsignalled),
            self._signals.positions + sum(positions) - sum(unsignalled),
        )
        report.events += len(positions)
        return len(positions)

    def _misplaced(self, standing: Standing) -> Iterator[Difference]:
        """The checkpoints that are nowhere, or further than the ledger is."""
        for projection in self._projections:
            where: dict[str, object] = {"projection": _name(projection)}
            checkpoint = standing.checkpoint(projection)
            if checkpoint is None:
                yield Difference(CHECKPOINTS, "lost", None, where)
            elif checkpoint > standing.position:
                where |= {"position": checkpoint}
                yield Difference(CHECKPOINTS, "beyond", None, where)

    async def _missing(
        self, connection: Connection, report: Report
    ) -> list[Difference]:
        """The positions that have no event; looked for where the count is short."""
        found: list[Difference] = []
        if report.events == report.position:
            return found
        for first, last in position_ranges(report.position):
            _, missing = await missing_positions(connection, first, last, last)
            found += [
                Difference(EVENTS, "missing", None, {"position": position})
                for position in missing
            ]
        return found

    async def _unequal_signals(
        self, connection: Connection, report: Report
    ) -> list[Difference]:
        """Whether signals and the events that they made are as many, at the same place.

        Looked at by their sums: who is missing is not told.
        """
        count = positions = 0
        for page in range(0, await signal_pages(connection), PAGES):
            more = await sum_signals(connection, page, report.position)
            count, positions = count + more.signals, positions + more.positions
        if (count, positions) == self._signals:
            return []
        stored = {"signals": count, "positionsSum": positions}
        expected = {
            "signals": self._signals.signals,
            "positionsSum": self._signals.positions,
        }
        return [Difference("signal_keys", "unequal", None, {}, stored, expected)]


def _name(projection: Projection) -> str:
    return f"{projection.name}_v{projection.version}"


async def _keys(
    keyring: Keyring, ids: Iterable[SubjectId]
) -> dict[SubjectId, SubjectKey | None]:
    """The keys that are there; one by one where some key does not open."""
    try:
        found = await keyring.subject_keys(ids)
    except MasterKeyMissing:
        keys: dict[SubjectId, SubjectKey | None] = {}
        for subject_id in ids:
            try:
                found = await keyring.subject_keys([subject_id])
            except MasterKeyMissing:
                keys[subject_id] = None
            else:
                keys |= {SubjectId(i): key for i, key in found.items()}
        return keys
    return {SubjectId(subject_id): key for subject_id, key in found.items()}


async def _standing(connection: Connection) -> Standing:
    rows = await connection.fetch(_READ_CHECKPOINTS)
    checkpoints = {(name, version): p for _, name, version, p in rows if name}
    return Standing(Position(rows[0][0]), checkpoints)
