"""Runs projections: read after the checkpoint, write rows, move on.

Those that stand at the same place, as they mostly do, share one reading of the ledger
and one transaction. Never skips. The subtle part is stopping: an event that cannot be
applied is found by going one at a time, everything before it is applied, and the
projection stands there, with the reason for everyone to see. It tries that event again
now and then, since what is in its way may be a right or a row; else a release that can
apply it is to be started. An outage of the database is waited out instead. Which
projection it is shows when each goes on by itself, so one that stops holds back none.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import asyncpg

from ledger.domain.ids import Position
from ledger.errors import StoreUnavailable, UnknownEvent
from ledger.settings import Settings
from ledger.store.database import Pool, open_pool, translated
from ledger.store.event_store import EventStore
from ledger.store.keyring import Keyring
from ledger.store.subscription import Doorbell
from projections.batches import Batches
from projections.beginning import CONNECTIONS, fill_empty
from projections.projection import (
    Batch,
    Dropped,
    Overtaken,
    Projection,
    advance,
    load_checkpoint,
    say_running,
    say_stopped,
)

log = logging.getLogger(__name__)

AGAIN_SECONDS: Final = 60.0
"""How often what has stopped tries again: a look at one event."""

SEEN_SECONDS = 5.0
"""How often an idle worker says that it runs."""

FILL_MIN = 50_000
"""So many events from nothing are filled at once, as a rebuild does."""

REST_FACTOR = 3.0
"""A batch that was not full is followed by a rest that is so much longer than it was:
under load the next one is larger, and a thousand events cost about what ten do. So
projections that keep up take a quarter of one core at most, and the rest is for texts.
"""

REST_SECONDS_MAX = 0.1
"""The longest rest: what it adds to the time until an event is visible, where there are
thousands a second. With a thousand a second a batch takes some milliseconds."""


@dataclass(frozen=True, slots=True)
class Means:
    """What a worker works with."""

    dsn: str
    pool: Pool
    store: EventStore
    keyring: Keyring
    doorbell: Doorbell
    settings: Settings


class Worker:
    """Keeps projections up to date for as long as ``run`` runs."""

    def __init__(
        self,
        projections: Sequence[Projection],
        means: Means,
        *,
        again_seconds: float | None = None,
    ) -> None:
        """Work on those; with ``again_seconds`` what has stopped tries again."""
        self._projections = projections
        self._means = means
        self._again_seconds = again_seconds
        self._reason = ""
        self._pool = means.pool
        self._store = means.store
        self._batches = Batches(means.store, means.keyring)
        self._batch_max = self._limit = means.settings.projection_batch_max
        self._seen = 0.0

    async def run(self) -> None:
        """Work until cancelled; returns only where every projection has stopped.

        And is not to try again. Or was dropped: nobody is told of that, and the others
        go on.
        """
        while True:
            try:
                self._projections = await self._not_dropped()
                if not self._projections:
                    return None
                if (position := await self._level()) is None:
                    return await self._run_apart()
                position = position or await self._begin()
                # A process that was killed while it filled has left none. Not before
                # that: who makes an index waits for whoever fills, and others for it.
                await self._create_indexes()
                await self._follow(position)
            except Dropped:
                continue
            except Overtaken:
                log.info("overtaken", extra={"projection": self._names})
            except StoreUnavailable as error:
                log.warning("store_unavailable", extra={"error": str(error)})
                # A session that began while the database was read-only stays so.
                await self._pool.expire_connections()
                await asyncio.sleep(self._means.settings.poll_seconds)
            # Whatever it is, it is shown and the projection stands; it never skips.
            except Exception as error:  # noqa: BLE001
                if len(self._projections) > 1:
                    # Whom it concerns meets it again, and says so.
                    return await self._run_apart()
                if await self._is_stopped_by(error):
                    return None

    async def catch_up(self) -> Position:
        """Work until there is nothing more to do; the position reached.

        Raises:
            RuntimeError: the projections are too far apart to do it in one.
        """
        position = await self._level()
        if position is None:
            raise RuntimeError(f"{self._names} are more than a batch apart")
        while True:
            batch = await self.read(position, self._limit, self._projections)
            if not batch.positions:
                return position
            position = await self._advance(batch, self._projections)

    @property
    def _names(self) -> str:
        return ", ".join(projection.name for projection in self._projections)

    async def _not_dropped(self) -> Sequence[Projection]:
        left = []
        for projection in self._projections:
            with suppress(Dropped):
                await load_checkpoint(self._pool, projection)
                left.append(projection)
        return left

    async def _run_apart(self) -> None:
        async with asyncio.TaskGroup() as group:
            for projection in self._projections:
                alone = Worker(
                    (projection,), self._means, again_seconds=self._again_seconds
                )
                group.create_task(alone.run(), name=projection.name)

    async def _level(self) -> Position | None:
        """Where all stand, once who is behind is there; None where that takes long.

        Projections that went on by themselves are a batch apart when their process
        ends; one that is new, or had stopped, is further behind, and nobody waits.
        """
        stand = [(await load_checkpoint(self._pool, p), p) for p in self._projections]
        last = max(position for position, _ in stand)
        if last - min(position for position, _ in stand) > self._batch_max:
            return None
        for position, projection in stand:
            if position < last:
                batch = await self.read(position, last - position, (projection,))
                await self._advance(batch, (projection,))
        return last

    async def _begin(self) -> Position:
        """Where to go on from nothing: much is filled at once, and little is read."""
        frontier = await self._store.last_position()
        if frontier < FILL_MIN or self._limit < self._batch_max:
            # Or it was tried: what cannot be applied is found one at a time.
            return Position(0)
        means = self._means
        # Of its own: whoever holds some connections must not wait for others.
        many = means.settings.model_copy(update={"connections_max": CONNECTIONS})
        async with await open_pool(
            means.dsn, many, application="consent-ledger project", is_durable=False
        ) as pool:
            await fill_empty(pool, means.keyring, self._projections, frontier)
        self._seen = 0.0
        return frontier

    async def _follow(self, position: Position) -> None:
        while True:
            rung = self._means.doorbell.count
            limit = self._limit
            batch = await self.read(position, limit, self._projections)
            if len(batch.positions) == limit:
                position, batch = await self._catch_up(position, batch, limit)
            if batch.positions:
                started = time.monotonic()
                position = await self._advance(batch, self._projections)
                rest = REST_FACTOR * (time.monotonic() - started)
                await asyncio.sleep(min(rest, REST_SECONDS_MAX))
                # Who is at work is not notified: what came meanwhile is read.
                continue
            await self._say_running()
            last = await self._store.await_events()
            if last < position:
                # A failover to an older copy: the checkpoint is older as well.
                raise StoreUnavailable(f"position {position} is lost: {last} is last")
            if last == position:
                await self._means.doorbell.wait_after(rung)

    async def _catch_up(
        self, position: Position, batch: Batch, limit: int
    ) -> tuple[Position, Batch]:
        """Apply batches while they are full; the position reached, and the rest.

        Each is applied while the next is read: the two take about as long. And each
        projection has a transaction of its own, since the database has cores of its
        own: what is then one batch apart after a fault is levelled.
        """
        each_alone = [(projection,) for projection in self._projections]
        while len(batch.positions) == limit:
            limit = self._limit
            last = batch.positions[-1]
            reading = asyncio.create_task(self.read(last, limit, self._projections))
            try:
                position = await self._advance(batch, *each_alone)
            except BaseException:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
                raise
            batch = await reading
        return position, batch

    async def _advance(
        self, batch: Batch, *transactions: Sequence[Projection]
    ) -> Position:
        """Apply the events that follow; the position reached.

        Each of ``transactions`` is its projections' own, side by side with the others.
        """
        # All are ended when this returns, or who tries again would meet them.
        ended = await asyncio.gather(
            *(self._write(batch, own) for own in transactions), return_exceptions=True
        )
        for error in filter(None, ended):
            raise error
        self._seen, self._reason = time.monotonic(), ""
        self._limit = min(2 * self._limit, self._batch_max)
        return batch.positions[-1]

    async def _write(self, batch: Batch, projections: Sequence[Projection]) -> None:
        with translated():
            async with self._pool.acquire() as connection:
                await advance(connection, projections, batch)

    async def read(
        self, position: Position, limit: int, projections: Sequence[Projection]
    ) -> Batch:
        """What follows ``position``, and whose it is where one of them shows that."""
        return await self._batches.read(
            position,
            limit,
            holds_numbers=any(projection.holds_numbers for projection in projections),
            holds_texts=any(projection.holds_texts for projection in projections),
        )

    async def _create_indexes(self) -> None:
        """Make the readers' indexes, if this database role may."""
        with translated(), suppress(asyncpg.InsufficientPrivilegeError):
            async with self._pool.acquire() as connection:
                for projection in self._projections:
                    await projection.create_indexes(connection)

    async def _say_running(self) -> None:
        if time.monotonic() - self._seen > SEEN_SECONDS:
            for projection in self._projections:
                await say_running(self._pool, projection)
            self._seen = time.monotonic()

    async def _is_stopped_by(self, error: Exception) -> bool:
        if self._limit > 1:
            self._limit = 1
            return False
        # The first line alone: PostgreSQL's DETAIL quotes the row, number and all.
        said, *_ = str(error).splitlines() or [""]
        reason = f"{type(error).__name__}: {said}"
        # Said once: if somebody else goes on meanwhile, it is so no more.
        if reason != self._reason:
            self._reason = reason
            extra = {"projection": self._names}
            log.error("projection_stopped", extra=extra, exc_info=error)
            before = error.position if isinstance(error, UnknownEvent) else None
            await self._report(reason, before)
        if self._again_seconds is None:
            return True
        # One event at a time still, and the same one first: none is skipped.
        await asyncio.sleep(self._again_seconds)
        return False

    async def _report(self, reason: str, before: int | None) -> None:
        [projection] = self._projections
        while True:
            try:
                return await say_stopped(self._pool, projection, reason, before=before)
            except StoreUnavailable:
                await asyncio.sleep(self._means.settings.poll_seconds)
