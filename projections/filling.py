"""Fills the tables of a version that is being built, slice by slice of subjects.

Each slice is folded from its events as a whole and copied once: nobody reads the tables
yet, and no row is written twice. A process takes a range of slices, of those that are
not there yet; their rows commit with the note that they are there, so that a process
that is killed leaves nothing behind and the next one nothing out. Never makes tables,
and never goes beyond the frontier: what came after that is the tail's.

The subtle part is digests, whose slices are fixed and, on a large ledger, wider than
these: neighbours add to the same rows, so one process has them, one after the other.
"""

import asyncio
import concurrent.futures
import gc
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Final, NamedTuple

import asyncpg
import uvloop

from ledger.domain.ids import Position
from ledger.errors import RebuildCancelled, StoreUnavailable
from ledger.master_key import load_master_keys
from ledger.settings import Settings
from ledger.store.database import Connection, Pool, open_pool, translated
from ledger.store.keyring import Keyring
from ledger.store.scan import read_erased_since
from ledger.store.statements import statement
from projections.copying import copy_rows
from projections.digests import Digests
from projections.pages import Page, Pages
from projections.projection import Batch, Person, Projection, Row, people_of
from projections.registry import Live, known
from projections.slices import Slice, slices

_INSERT_DIGESTS = statement("projections", "insert_digests")
_READ_FILLED = statement("projections", "read_filled")
_INSERT_FILLED = statement("projections", "insert_filled")
_READ_BUILDING = statement("projections", "read_building")
_UPDATE_FILLED = statement("projections", "update_filled")

Progress = Callable[[], Awaitable[None]]

PROGRESS_SECONDS: Final = 0.5
EVENTS_A_SLICE: Final = 8192
"""What one transaction folds and copies, about."""


class Filling(NamedTuple):
    """What is to be filled, for a process that knows nothing yet."""

    dsn: str
    settings: Settings
    versions: tuple[Live, ...]
    frontier: Position
    slices: int
    """In how many equal ranges all subjects are."""


async def fill(filling: Filling, processes: int, progress: Progress) -> None:
    """Fill everything with so many processes; ``progress`` is told of it meanwhile.

    None of them outlives this call, however it ends.

    Raises:
        LedgerError: why a process could not go on, or that it was killed.
    """
    context = multiprocessing.get_context("spawn")
    loop = asyncio.get_running_loop()
    with concurrent.futures.ProcessPoolExecutor(
        processes, context, initializer=end_with_parent
    ) as executor:
        with _main_unread():
            shares = [
                loop.run_in_executor(executor, fill_share, filling, own, processes)
                for own in range(processes)
            ]
        try:
            await _ended(shares, progress)
        except BaseException:
            # What they are writing is rolled back, and done again by whoever goes on.
            for child in multiprocessing.active_children():
                child.terminate()
            await asyncio.gather(*shares, return_exceptions=True)
            raise


@contextmanager
def _main_unread() -> Iterator[None]:
    """Have processes that start here leave out whatever program has started this one.

    A spawned one imports that first, for what it may be sent to do; ours is in this
    module, and the command line would be two thirds of its start.
    """
    program = vars(sys.modules["__main__"])
    file = program.pop("__file__", None)
    try:
        yield
    finally:
        if file is not None:
            program["__file__"] = file


async def _ended(shares: Sequence[asyncio.Future[None]], progress: Progress) -> None:
    running = set(shares)
    while running:
        done, running = await asyncio.wait(
            running,
            timeout=PROGRESS_SECONDS,
            return_when=asyncio.FIRST_EXCEPTION,
        )
        for share in done:
            try:
                share.result()
            except BrokenProcessPool:
                raise StoreUnavailable("a process that fills was killed") from None
        await progress()


def end_with_parent() -> None:
    """Have this process end with the one that started it, however that ends.

    Ctrl-C on a terminal is for the one that started it alone.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_after_parent, daemon=True).start()


def _end_after_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)


def fill_share(filling: Filling, own: int, count: int) -> None:
    """What one of ``count`` processes does."""
    # What is folded makes no cycles: looking for some costs a twentieth.
    gc.disable()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(fill_slices(filling, own, count))


async def fill_slices(filling: Filling, own: int, count: int) -> None:
    """As ``fill_share``, in an event loop that there is."""
    settings = filling.settings
    masters = load_master_keys(settings)
    async with await open_pool(
        filling.dsn, settings, application="consent-ledger rebuild", is_durable=False
    ) as pool:
        filler = Filler(pool, Keyring(pool, masters), filling)
        await filler.start()
        for number, span in enumerate(slices(filling.slices)):
            if number * count // filling.slices == own:
                await filler.fill(number, span)


class Filler:
    """Fills slices, one at a time."""

    def __init__(self, pool: Pool, keyring: Keyring, filling: Filling) -> None:
        self._pool = pool
        self._pages = Pages(keyring, filling.frontier)
        self._projections = known(filling.versions)
        self._frontier = filling.frontier
        self._filled: dict[str, set[int]] = {}

    async def start(self) -> None:
        """Find out what is there already."""
        with translated():
            for projection in self._projections:
                rows = await self._pool.fetch(_READ_FILLED, projection.name)
                self._filled[projection.name] = {row[0] for row in rows}

    async def fill(self, number: int, span: Slice) -> None:
        """Write the rows of a slice, where they are not there yet.

        Raises:
            RebuildCancelled: the tables are not to be built any more.
            UnknownEvent, KeyMissing, SealBroken: an event cannot be folded.
            StoreUnavailable: the database cannot be used now.
        """
        missing = [p for p in self._projections if number not in self._filled[p.name]]
        if not missing:
            return
        try:
            with translated():
                async with self._pool.acquire() as connection:
                    async with connection.transaction():
                        await self._fill(connection, number, span, missing)
                    await forget_erased(connection, missing, self._frontier)
        except (asyncpg.ForeignKeyViolationError, asyncpg.UndefinedTableError):
            raise RebuildCancelled("by --cancel, meanwhile") from None

    async def _fill(
        self,
        connection: Connection,
        number: int,
        span: Slice,
        missing: Sequence[Projection],
    ) -> None:
        # Whoever else fills this slice, left by a rebuild that was killed, is waited
        # for here.
        own = [p for p in missing if await _is_taken(connection, p, number)]
        if not own:
            return
        events = 0
        async for page in self._pages.read(connection, span):
            events += page.events
            for projection in own:
                await write_page(connection, projection, page)
                await add_digests(connection, projection, page.digests)
        for projection in own:
            await connection.execute(_UPDATE_FILLED, projection.name, number, events)


async def forget_erased(
    connection: Connection, projections: Sequence[Projection], frontier: Position
) -> None:
    """Delete whoever was erased while their rows were being written.

    The erasure did not see them; the tail meets it as well, but maybe days later. Not
    of one slice alone: somebody's texts are in others.
    """
    if since := await read_erased_since(connection, frontier):
        async with connection.transaction():
            for projection in projections:
                await projection.apply(connection, Batch((), {}, since))


async def add_digests(
    connection: Connection, projection: Projection, digests: Digests
) -> None:
    """Add to what a version has applied, without moving its checkpoint."""
    version = (projection.name, projection.version)
    await connection.execute(_INSERT_DIGESTS, *version, *digests)


async def _is_taken(
    connection: Connection, projection: Projection, number: int
) -> bool:
    """Whether this transaction fills a slice; not where another one has done so."""
    version = (projection.name, projection.version)
    if await connection.fetchval(_INSERT_FILLED, *version, number) is not None:
        return True
    if not await connection.fetchval(_READ_BUILDING, *version):
        raise RebuildCancelled("by --cancel, meanwhile")
    return False


async def write_page(
    connection: Connection, projection: Projection, page: Page
) -> None:
    """Write the rows of those whose rows are not there yet."""
    copied, people = projection.copied(page.heard, page.texts), page.people
    if copied is None:
        copied, people = (), [*people, *people_of(page.heard, page.texts)]
    for table, rows in zip(projection.tables, copied, strict=False):
        await copy_rows(connection, table.name, table.columns, rows)
    if people:
        await _copy(connection, projection, people)
    for part in page.parts:
        await projection.apply(connection, part)


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
