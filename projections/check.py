"""Is what we serve what the events say? Folds the whole ledger and compares.

First the digests of what was applied, stretch by stretch of positions (``proof``). Then
all subjects, slice by slice, each in one short transaction with one snapshot: its
events, how far each projection has come, and its rows; so it can run beside a service
at work, needs memory for a few slices, and holds nothing up. Never writes. What no
single slice shows comes last: whether every position has its event, and whether the
signals that were counted are those that are there.

Of a part of the ledger only: its digests, and whoever has an event in it.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from ledger.domain.events import MessageEvent
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
    read_erased_of,
    read_erased_slice,
    read_slice,
    signal_pages,
    subjects_between,
    sum_signals,
)
from ledger.store.sealing import SubjectKey
from ledger.store.statements import statement
from projections.comparison import (
    CHECKPOINTS,
    EVENTS,
    Difference,
    Stand,
    Streams,
    compare,
    compare_keys,
    opened_people,
    streams_of,
)
from projections.projection import Projection, Row, why_unreadable
from projections.proof import Proof, Stretch, stretches
from projections.report import EXAMPLES_MAX, Part, Report
from projections.slices import Slice, slices, slices_for

_READ_CHECKPOINTS = statement("projections", "read_checkpoints")
_READ_LOST = statement("projections", "read_lost")

EVENTS_A_SLICE: Final = 4096
"""What one transaction reads, about: some megabytes, and some tenths of a second."""

READERS: Final = 2
"""One slice is read while another is compared."""


class Standing(NamedTuple):
    """Where the ledger is, and each projection by name and version."""

    position: Position
    checkpoints: Mapping[tuple[str, int], Position]

    def checkpoint(self, projection: Projection) -> Position | None:
        """Where ``projection`` is; None where its row is gone."""
        return self.checkpoints.get((projection.name, projection.version))


class _Read(NamedTuple):
    """A slice as one snapshot has it."""

    standing: Standing
    streams: Streams
    events: Sequence[StoredRow]
    keys: Mapping[SubjectId, SubjectKey | None]
    """None where it does not open."""
    erased: Sequence[Row]
    rows: Sequence[Sequence[Sequence[Row]]]
    """Of each projection, of each of its tables."""


def _ignored(_: int) -> None:
    """For whom progress is of no interest."""


class Check:
    """Compares every row of projections with the events."""

    def __init__(
        self, pool: Pool, masters: MasterKeys, projections: Sequence[Projection]
    ) -> None:
        self._pool = pool
        self._masters = masters
        self._projections = projections
        self._readable = projections
        """Those of them whose rows are compared."""
        self._signals = SignalSum(0, 0)

    async def position(self) -> Position:
        """Where the ledger is now: as many events as there are to fold.

        Raises:
            StoreUnavailable: the database cannot be read now.
        """
        with translated():
            async with self._pool.acquire() as connection:
                return (await _standing(connection)).position

    async def begin(
        self,
        first: int = 1,
        last: int | None = None,
        *,
        examples_max: int = EXAMPLES_MAX,
    ) -> Report:
        """An empty report of the ledger as it is now, or of those positions of it.

        What is recorded from now on is compared as far as a projection has come, and
        not counted.

        Raises:
            StoreUnavailable: the database cannot be read now.
        """
        position = await self.position()
        end = position if last is None else min(last, position)
        return Report(position, Part(first, end), examples_max)

    async def run(self, report: Report, advance: Advance = _ignored) -> Report:
        """Compare digests, and then rows."""
        await self.digests(report, advance)
        await self.rows(report, advance)
        return report

    async def digests(self, report: Report, advance: Advance) -> None:
        """Compare what was applied; ``advance`` is told of each event of the part.

        Raises:
            StoreUnavailable: the database cannot be read now.
        """
        names = [_name(projection) for projection in self._projections]
        with translated():
            async with self._pool.acquire() as connection:
                proof = Proof(connection, Keyring(connection, self._masters), names)
                report.add(await proof.moved())
                for stretch in stretches(*report.part):
                    proven = await proof.compare(stretch)
                    report.digests += proven.cells
                    report.add(proven.found)
                    advance(_common(stretch, report.part))

    async def rows(self, report: Report, advance: Advance) -> None:
        """Compare every row; ``advance`` is told of each event of the part.

        Raises:
            StoreUnavailable: the database cannot be read now.
        """
        self._signals = SignalSum(0, 0)
        is_whole = report.part == (1, report.position)
        with translated():
            async with self._pool.acquire() as connection:
                report.add(await self._misplaced(connection))
                report.add(await self._broken(connection))
            if is_whole:
                left = slices(slices_for(report.position, EVENTS_A_SLICE))
                await self._go_through_all(left, report, report.part, advance)
            else:
                for part in _stretches_of(report.part):
                    left = await self._people(part)
                    await self._go_through_all(left, report, part, advance)
            async with self._pool.acquire() as connection:
                report.add(await self._missing(connection, report))
                if is_whole:
                    report.add(await self._unequal_signals(connection, report))

    async def _people(self, part: Part) -> Iterator[Slice]:
        """Whoever has an event in a part, each as a slice of one."""
        async with self._pool.acquire() as connection:
            ids = await subjects_between(connection, *part)
        return (Slice(subject_id, subject_id) for subject_id in ids)

    async def _go_through_all(
        self, left: Iterator[Slice], report: Report, part: Part, advance: Advance
    ) -> None:
        """Compare slices, by several readers."""
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(READERS):
                    group.create_task(self._go_through(left, report, part, advance))
        except ExceptionGroup as errors:
            # Two that fail at once fail for one reason.
            raise errors.exceptions[0] from None

    async def _go_through(
        self, left: Iterator[Slice], report: Report, part: Part, advance: Advance
    ) -> None:
        """Compare slices while some are left, which another reader takes from too."""
        async with self._pool.acquire() as connection:
            for subjects in left:
                read = await self._read(connection, subjects)
                advance(self._compare(read, report, part))

    async def _read(self, connection: Connection, subjects: Slice) -> _Read:
        """Everything of a slice at one moment."""
        span = (subjects.first, subjects.last)
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            standing = await _standing(connection)
            events = await read_slice(connection, *span)
            streams = streams_of(events, standing.position)
            ids = [SubjectId(i) for i in streams.subject_ids]
            keys = await _keys(Keyring(connection, self._masters), ids)
            streams.gone = await read_erased_of(connection, ids)
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
                for projection in self._readable
            ]
            erased = await read_erased_slice(connection, *span)
        return _Read(standing, streams, events, keys, erased, rows)

    def _compare(self, read: _Read, report: Report, part: Part) -> int:
        """Compare a slice; how many of the events of a part it had."""
        streams = read.streams
        report.add(streams.differences)
        report.add(compare_keys(streams, read.keys, read.erased))
        people, unopened = opened_people(streams, read.keys)
        report.add(unopened)
        for projection, stored in zip(self._readable, read.rows, strict=True):
            checkpoint = read.standing.checkpoint(projection)
            if checkpoint is None:
                continue
            report.compared(_name(projection), checkpoint)
            report.add(compare(Stand(projection, checkpoint, stored), streams, people))
            for table, rows in zip(projection.tables, stored, strict=True):
                report.rows[table.name] += len(rows)
        report.subjects += len(streams.people)
        report.erased += len(streams.erased)
        return self._count(streams, read.events, report, part)

    def _count(
        self,
        streams: Streams,
        events: Sequence[StoredRow],
        report: Report,
        part: Part,
    ) -> int:
        """Count what was there at the beginning, and what of it signals have made."""
        positions = [row[4] for row in events if part.first <= row[4] <= part.last]
        # An erasure is appended without a signal, and what a signal has caused behind
        # what it says of consent is counted with that.
        unsignalled = [p for p, _ in streams.erased.values() if p <= report.position]
        unsignalled += [
            position
            for stream in streams.people.values()
            for position, event in stream
            if isinstance(event, MessageEvent)
            and event.has_cause
            and position <= report.position
        ]
        self._signals = SignalSum(
            self._signals.signals + len(positions) - len(unsignalled),
            self._signals.positions + sum(positions) - sum(unsignalled),
        )
        report.events += len(positions)
        return len(positions)

    async def _misplaced(self, connection: Connection) -> list[Difference]:
        """The checkpoints that are nowhere, or further than the ledger is.

        One of a version that does not answer is nowhere once that is dropped.
        """
        standing = await _standing(connection)
        found = [
            Difference(CHECKPOINTS, "lost", None, {"projection": f"{name}_v{version}"})
            for name, version in await connection.fetch(_READ_LOST)
        ]
        for projection in self._projections:
            checkpoint = standing.checkpoint(projection)
            if checkpoint is not None and checkpoint > standing.position:
                where = {"projection": _name(projection), "position": checkpoint}
                found.append(Difference(CHECKPOINTS, "beyond", None, where))
        return found

    async def _broken(self, connection: Connection) -> list[Difference]:
        """The tables that cannot be read; of their versions no row is compared."""
        found: list[Difference] = []
        self._readable = []
        for projection in self._projections:
            broken = [
                Difference(table.name, "unreadable", None, {"error": reason})
                for table in projection.tables
                if (reason := await why_unreadable(connection, table))
            ]
            if not broken:
                self._readable.append(projection)
            # If it has been dropped meanwhile, it is none of the versions any more.
            elif (await _standing(connection)).checkpoint(projection) is not None:
                found += broken
        return found

    async def _missing(
        self, connection: Connection, report: Report
    ) -> list[Difference]:
        """The positions that have no event; looked for where the count is short."""
        found: list[Difference] = []
        if report.events == report.part.events:
            return found
        for first, last in position_ranges(report.part.last, report.part.first):
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


def _common(one: Stretch, other: Part) -> int:
    """How many positions are in both."""
    return min(one.last, other.last) - max(one.first, other.first) + 1


def _stretches_of(part: Part) -> Iterator[Part]:
    """The part, cut where stretches begin: so few people are read at once."""
    for first, last in stretches(*part):
        yield Part(max(first, part.first), min(last, part.last))


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
