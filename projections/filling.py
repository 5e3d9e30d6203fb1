"""Fills the tables of a version that is being built, slice by slice of subjects.

Each slice is folded from its events as a whole and copied once: nobody reads the tables
yet, and no row is written twice. A process takes every so-manieth group of slices that
is not there yet; what it has written of a group commits with the note that it has, so
that a process that is killed leaves nothing behind and the next one nothing out. Never
makes tables, and never goes beyond the frontier: what came after that is the tail's.
"""

import asyncio
import concurrent.futures
import gc
import multiprocessing
import os
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import asyncpg
import uvloop

from ledger.domain.events import ConsentChanged, SubjectErased
from ledger.domain.ids import PhoneNumber, Position, Sealed, SubjectId
from ledger.errors import RebuildCancelled
from ledger.garbage import GARBAGE_MIN
from ledger.master_key import load_master_keys
from ledger.settings import Settings
from ledger.store.codec import RecordedEvent, StoredRow, decode
from ledger.store.database import Connection, Pool, open_pool, translated
from ledger.store.keyring import Keyring
from ledger.store.scan import read_slice
from ledger.store.sealing import SubjectKey
from ledger.store.statements import statement
from projections.projection import Person, Projection, Row
from projections.registry import Live, known
from projections.slices import SLICES, Slice, slices, slices_for

_READ_FILLED = statement("projections", "read_filled")
_INSERT_FILLED = statement("projections", "insert_filled")

Progress = Callable[[], Awaitable[None]]

PROGRESS_SECONDS: Final = 0.5
EVENTS_A_GROUP: Final = 8192
"""What one transaction folds and copies, about: some ten megabytes."""


class Group(NamedTuple):
    """Slices that are next to each other, filled in one transaction."""

    numbers: range
    span: Slice


class Filling(NamedTuple):
    """What is to be filled, for a process that knows nothing yet."""

    dsn: str
    settings: Settings
    versions: tuple[Live, ...]
    frontier: Position


def groups(frontier: Position) -> Iterator[Group]:
    """Every slice, as many to a group as have about ``EVENTS_A_GROUP`` events."""
    count = min(slices_for(frontier, EVENTS_A_GROUP), SLICES)
    each = SLICES // count
    for number, span in enumerate(slices(count)):
        yield Group(range(number * each, (number + 1) * each), span)


async def fill(filling: Filling, processes: int, progress: Progress) -> None:
    """Fill everything with so many processes; ``progress`` is told of it meanwhile.

    Raises:
        LedgerError: why a process could not go on; all have ended.
    """
    context = multiprocessing.get_context("spawn")
    loop = asyncio.get_running_loop()
    with concurrent.futures.ProcessPoolExecutor(processes, context) as executor:
        shares = [
            loop.run_in_executor(executor, fill_share, filling, own, processes)
            for own in range(processes)
        ]
        while True:
            done, running = await asyncio.wait(shares, timeout=PROGRESS_SECONDS)
            await progress()
            for share in done:
                share.result()
            if not running:
                return


def fill_share(filling: Filling, own: int, count: int) -> None:
    """What one of ``count`` processes does."""
    gc.set_threshold(GARBAGE_MIN)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_fill_share(filling, own, count))


async def _fill_share(filling: Filling, own: int, count: int) -> None:
    parent = os.getppid()
    settings = filling.settings
    masters = load_master_keys(settings)
    async with await open_pool(
        filling.dsn, settings, application="consent-ledger rebuild", is_durable=False
    ) as pool:
        filler = Filler(pool, Keyring(pool, masters), filling)
        for number, group in enumerate(groups(filling.frontier)):
            if os.getppid() != parent:
                return  # Who started us was killed; whoever goes on starts its own.
            if number % count == own:
                await filler.fill(group)


class Filler:
    """Fills groups, one at a time."""

    def __init__(self, pool: Pool, keyring: Keyring, filling: Filling) -> None:
        self._pool = pool
        self._keyring = keyring
        self._projections = known(filling.versions)
        self._frontier = filling.frontier

    async def fill(self, group: Group) -> None:
        """Write the rows of a group, where they are not there yet.

        Raises:
            RebuildCancelled: the tables are not to be built any more.
            UnknownEvent, KeyMissing, SealBroken: an event cannot be folded.
            StoreUnavailable: the database cannot be used now.
        """
        try:
            with translated():
                async with self._pool.acquire() as connection:
                    await self._fill(connection, group)
        except (asyncpg.ForeignKeyViolationError, asyncpg.UndefinedTableError):
            raise RebuildCancelled("by --cancel, meanwhile") from None

    async def _fill(self, connection: Connection, group: Group) -> None:
        async with connection.transaction():
            missing = [
                p for p in self._projections if await _lacks(connection, p, group)
            ]
            if not missing:
                return
            stored = await read_slice(connection, group.span.first, group.span.last)
            people, events = await self._people(stored)
            for projection in missing:
                await _copy(connection, projection, people)
                await connection.execute(
                    _INSERT_FILLED, projection.name, list(group.numbers), events
                )

    async def _people(self, stored: Sequence[StoredRow]) -> tuple[list[Person], int]:
        """Whoever is alive at the frontier, and how many events that took."""
        streams: dict[SubjectId, list[RecordedEvent]] = {}
        events = 0
        for row in stored:
            if row[4] <= self._frontier:
                streams.setdefault(SubjectId(row[0]), []).append(decode(row))
                events += 1
        begun = {
            subject_id: stream
            for subject_id, stream in streams.items()
            if isinstance(stream[0].event, ConsentChanged)
            and not isinstance(stream[-1].event, SubjectErased)
        }
        keys = await self._keyring.subject_keys_of_living(begun)
        people = [
            Person(subject_id, _number(stream[0], keys[subject_id]), stream)
            for subject_id, stream in begun.items()
            if subject_id in keys
        ]
        return people, events


async def _lacks(connection: Connection, projection: Projection, group: Group) -> bool:
    filled = await connection.fetchval(
        _READ_FILLED, projection.name, group.numbers.start
    )
    return not filled


async def _copy(
    connection: Connection, projection: Projection, people: Iterable[Person]
) -> None:
    rows: list[list[Row]] = [[] for _ in projection.tables]
    for person in people:
        for of_table, more in zip(rows, projection.rows_of(person), strict=True):
            of_table.extend(more)
    for table, of_table in zip(projection.tables, rows, strict=True):
        await connection.copy_records_to_table(
            table.name, records=of_table, columns=table.columns
        )


def _number(first: RecordedEvent, key: SubjectKey) -> PhoneNumber:
    event = first.event
    assert isinstance(event, ConsentChanged), "people begin by saying something"  # noqa: S101
    return key.open_number(Sealed(event.phone_number), event.subject_id, event.version)
