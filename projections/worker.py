"""Runs one projection: read after the checkpoint, write rows, move on.

Never skips. The subtle part is stopping: an event that cannot be applied is found by
going one at a time, everything before it is applied, and the projection stands there,
with the reason for everyone to see, until a release that can apply it is started; an
outage of the database is waited out instead.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from contextlib import suppress

import asyncpg

from ledger.domain.ids import Position
from ledger.errors import StoreUnavailable
from ledger.settings import Settings
from ledger.store.codec import RecordedEvent
from ledger.store.database import Pool, translated
from ledger.store.event_store import EventStore
from ledger.store.subscription import Doorbell
from projections.projection import (
    Overtaken,
    Projection,
    advance,
    load_checkpoint,
    say_running,
    say_stopped,
)

log = logging.getLogger(__name__)

SEEN_SECONDS = 5.0
"""How often an idle worker says that it runs."""

REST_FACTOR = 3.0
"""A batch that was not full is followed by a rest that is so much longer than it was:
under load the next one is larger, and a thousand events cost about what ten do. So a
projection that keeps up takes a quarter of one core at most, and the rest is for texts.
"""

REST_SECONDS_MAX = 0.03
"""The longest rest: what it adds to the time until an event is visible."""


class Worker:
    """Keeps one projection up to date for as long as ``run`` runs."""

    def __init__(
        self,
        projection: Projection,
        store: EventStore,
        pool: Pool,
        doorbell: Doorbell,
        settings: Settings,
    ) -> None:
        self.name = projection.name
        self._projection = projection
        self._store = store
        self._pool = pool
        self._doorbell = doorbell
        self._settings = settings
        self._limit = settings.projection_batch_max
        self._seen = 0.0

    async def run(self) -> None:
        """Work until cancelled; returns only where the projection has stopped."""
        while True:
            try:
                # A process that was killed while it caught up has left none.
                await self.create_indexes()
                await self._follow(await self.position())
            except Overtaken:
                log.info("overtaken", extra={"projection": self._projection.name})
            except StoreUnavailable as error:
                log.warning("store_unavailable", extra={"error": str(error)})
                # A session that began while the database was read-only stays so.
                await self._pool.expire_connections()
                await asyncio.sleep(self._settings.poll_seconds)
            # Whatever it is, it is shown and the projection stands; it never skips.
            except Exception as error:  # noqa: BLE001
                if await self._is_stopped_by(error):
                    return

    async def create_indexes(self) -> None:
        """Make the readers' indexes, if this database role may."""
        with translated(), suppress(asyncpg.InsufficientPrivilegeError):
            async with self._pool.acquire() as connection:
                await self._projection.create_indexes(connection)

    async def drop_indexes(self) -> None:
        """Do without the readers' indexes for now, if this database role may."""
        with translated(), suppress(asyncpg.InsufficientPrivilegeError):
            async with self._pool.acquire() as connection:
                await self._projection.drop_indexes(connection)

    async def catch_up(self) -> Position:
        """Work until there is nothing more to do; the position reached."""
        position = await self.position()
        while events := await self._store.read_after(position, self._limit):
            position = await self.advance(events)
        return position

    async def position(self) -> Position:
        """How far the projection is."""
        return await load_checkpoint(self._pool, self._projection)

    async def advance(self, events: Sequence[RecordedEvent]) -> Position:
        """Apply the events that follow; the position reached."""
        with translated():
            async with self._pool.acquire() as connection:
                position = await advance(connection, self._projection, events)
        self._seen = time.monotonic()
        self._limit = min(2 * self._limit, self._settings.projection_batch_max)
        return position

    async def _follow(self, position: Position) -> None:
        while True:
            rung = self._doorbell.count
            limit = self._limit
            events = await self._store.read_after(position, limit)
            while len(events) == limit:
                limit = self._limit
                position, events = await self._advance_reading_ahead(events, limit)
            if events:
                started = time.monotonic()
                position = await self.advance(events)
                rest = REST_FACTOR * (time.monotonic() - started)
                await asyncio.sleep(min(rest, REST_SECONDS_MAX))
            await self._say_running()
            await self._doorbell.wait_after(rung)

    async def _advance_reading_ahead(
        self, events: Sequence[RecordedEvent], limit: int
    ) -> tuple[Position, list[RecordedEvent]]:
        """Apply a batch while the next is read: the two take about as long."""
        reading = asyncio.create_task(
            self._store.read_after(events[-1].position, limit)
        )
        try:
            position = await self.advance(events)
        except BaseException:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            raise
        return position, await reading

    async def _say_running(self) -> None:
        if time.monotonic() - self._seen > SEEN_SECONDS:
            await say_running(self._pool, self._projection)
            self._seen = time.monotonic()

    async def _is_stopped_by(self, error: Exception) -> bool:
        if self._limit > 1:
            self._limit = 1
            return False
        name = self._projection.name
        log.error("projection_stopped", extra={"projection": name}, exc_info=error)
        # The first line alone: PostgreSQL's DETAIL quotes the row, number and all.
        said, *_ = str(error).splitlines() or [""]
        await self._report(f"{type(error).__name__}: {said}")
        return True

    async def _report(self, reason: str) -> None:
        while True:
            try:
                return await say_stopped(self._pool, self._projection, reason)
            except StoreUnavailable:
                await asyncio.sleep(self._settings.poll_seconds)
