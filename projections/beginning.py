"""Fills the tables of a projector that starts from nothing, all at once.

Slice by slice of subjects, as a rebuild does, which is several times as fast as batch
by batch: somebody's rows are written once. But these are the tables that answer, so all
of it is one transaction for each projection, with the checkpoint and the digests: who
reads finds nothing, at position 0, or all of it, at the frontier. Killed before that it
leaves nothing, and begins again.

The subtle part is who waits. The checkpoint's row is moved first, so that a second
worker waits there, where it has written nothing. And two slices are at work at a time:
while one is folded, PostgreSQL reads for the other.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

import asyncpg

from ledger.domain.ids import Position
from ledger.errors import PositionMissing
from ledger.store.database import Connection, Pool, translated
from ledger.store.keyring import Keyring
from projections.digests import NO_DIGESTS
from projections.filling import add_digests, forget_erased, write_page
from projections.pages import Page, Pages
from projections.projection import Projection, move
from projections.registry import NAMES
from projections.slices import Slice, slices, slices_for

log = logging.getLogger(__name__)

EVENTS_A_SLICE: Final = 2048
"""Folded without a pause: some hundredths of a second."""

LANES: Final = 2
"""How many slices are at work at a time, each on a connection that reads."""

CONNECTIONS: Final = LANES + len(NAMES) + 1
"""How many it needs at a time, at most."""

_START: Final = Position(0)


@dataclass(frozen=True, slots=True)
class Written:
    """A projection, and the connection of the transaction that fills it."""

    projection: Projection
    connection: Connection
    lock: asyncio.Lock

    async def write(self, page: Page) -> None:
        """Add a page, after whichever page is being added."""
        async with self.lock:
            await write_page(self.connection, self.projection, page)
            await add_digests(self.connection, self.projection, page.digests)

    async def index(self) -> None:
        """Make the indexes, in the transaction: nobody lists without them."""
        await self.projection.create_indexes(self.connection)


async def fill_empty(
    pool: Pool, keyring: Keyring, projections: Sequence[Projection], frontier: Position
) -> None:
    """Fill tables that hold nothing yet with all events up to ``frontier``.

    Raises:
        Overtaken: another worker has begun.
        PositionMissing: the ledger has lost an event.
        UnknownEvent, EventBroken, KeyMissing, SealBroken: one cannot be folded.
        StoreUnavailable: the database cannot be used now.
    """
    started = time.monotonic()
    names = ", ".join(projection.name for projection in projections)
    log.info("filling", extra={"projection": names, "events": frontier})
    with translated():
        async with AsyncExitStack() as stack:
            written = [
                await stack.enter_async_context(_writing(pool, projection, frontier))
                for projection in projections
            ]
            await _drop_indexes(pool, projections)
            spans = slices(slices_for(frontier, EVENTS_A_SLICE))
            pages = Pages(keyring, frontier)
            events = await _fill_all(pool, pages, spans, written)
            if events != frontier:
                raise PositionMissing(f"{events} events are there of {frontier}")
            await asyncio.gather(*(one.index() for one in written))
        async with pool.acquire() as connection:
            await forget_erased(connection, projections, frontier)
    seconds = time.monotonic() - started
    log.info("filled", extra={"projection": names, "seconds": round(seconds, 1)})


@asynccontextmanager
async def _writing(
    pool: Pool, projection: Projection, frontier: Position
) -> AsyncIterator[Written]:
    """The transaction that moves a checkpoint from 0 on, and all that belongs to it."""
    async with pool.acquire() as connection, connection.transaction():
        await move(connection, [projection], _START, frontier, NO_DIGESTS)
        yield Written(projection, connection, asyncio.Lock())


async def _drop_indexes(pool: Pool, projections: Sequence[Projection]) -> None:
    """Do without the readers' indexes for now, if this database role may.

    Built at the end they cost a third of what they cost kept up row by row.
    """
    async with pool.acquire() as connection:
        with suppress(asyncpg.InsufficientPrivilegeError):
            for projection in projections:
                await projection.drop_indexes(connection)


async def _fill_all(
    pool: Pool, pages: Pages, spans: Iterator[Slice], written: Sequence[Written]
) -> int:
    """Go through all slices; how many events they hold."""
    try:
        async with asyncio.TaskGroup() as group:
            lanes = [
                group.create_task(_fill_some(pool, pages, spans, written))
                for _ in range(LANES)
            ]
    except ExceptionGroup as errors:
        # Two that fail at once fail for one reason.
        raise errors.exceptions[0] from None
    return sum(lane.result() for lane in lanes)


async def _fill_some(
    pool: Pool, pages: Pages, spans: Iterator[Slice], written: Sequence[Written]
) -> int:
    """Go through slices while there are some, which others take from as well."""
    events = 0
    async with pool.acquire() as connection:
        for span in spans:
            async for page in pages.read(connection, span):
                await asyncio.gather(*(one.write(page) for one in written))
                events += page.events
    return events
