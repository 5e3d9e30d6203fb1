"""The projector process: composition root of everything that fills tables.

What ``consent-ledger project`` runs, and ``serve`` beside the web processes.
"""

import asyncio
import gc
import os
import signal
import sys
from contextlib import suppress
from typing import Final

from ledger.errors import StoreUnavailable
from ledger.migrations import migrate
from ledger.settings import Settings
from ledger.store.database import Connection, open_pool
from ledger.store.keyring import Keyring
from ledger.store.master import MasterKeys
from ledger.store.postgres import PostgresEventStore
from ledger.store.subscription import Doorbell
from projections.projection import Projection
from projections.registry import NAMES, Live, create_first, known, newest, read_live
from projections.worker import AGAIN_SECONDS, Means, Worker

PROJECTIONS: Final[tuple[Projection, ...]] = tuple(newest(name, 1) for name in NAMES)
"""What a new ledger begins with."""

GARBAGE_MIN: Final = 100_000
"""Objects made before cycles are looked for. A batch is tens of thousands that live for
a moment and have none: with Python's 700, looking is a fifth of catching up."""

NICENESS: Final = 10
"""Beside web processes: texts are recorded first and shown later."""


async def migrate_all(connection: Connection) -> list[str]:
    """Bring the ledger's schema and the projections' tables up to date."""
    applied = await migrate(connection)
    return applied + await create_first(connection)


async def project(
    dsn: str, settings: Settings, masters: MasterKeys, *, ends_with_input: bool
) -> None:
    """Keep every projection up to date until SIGTERM or SIGINT.

    ``ends_with_input`` is for a child: it ends when its parent, killed or not, is gone.

    One projection that stops does not stop the others; when all have stopped the
    process stays, so that its readers can see why.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    if ends_with_input:
        loop.add_reader(sys.stdin.fileno(), stop.set)
        os.nice(NICENESS)
    gc.set_threshold(GARBAGE_MIN)
    pool = await open_pool(
        dsn, settings, application="consent-ledger project", is_durable=False
    )
    bell = Doorbell(dsn, "ledger_events", poll_seconds=settings.poll_seconds)
    async with pool, bell, asyncio.TaskGroup() as group:
        store, keyring = PostgresEventStore(pool), Keyring(pool, masters)
        means = Means(dsn, pool, store, keyring, bell, settings)
        running = group.create_task(keep_up_to_date(means))
        await stop.wait()
        running.cancel()


async def keep_up_to_date(means: Means) -> None:
    """Keep every version up to date that there is, until cancelled.

    What begins or ends meanwhile is noticed within LEDGER_POLL_SECONDS.
    """
    live: list[Live] = []
    running: asyncio.Task[None] | None = None
    try:
        while True:
            found = await _live(means, live)
            if found != live:
                await _end(running)
                live, running = found, None
                if projections := known(live):
                    worker = Worker(projections, means, again_seconds=AGAIN_SECONDS)
                    running = asyncio.create_task(worker.run(), name="projections")
            await asyncio.sleep(means.settings.poll_seconds)
            if running is not None and running.done():
                running.result()
    finally:
        await _end(running)


async def _live(means: Means, before: list[Live]) -> list[Live]:
    """The versions that there are; as before, while the database is away."""
    with suppress(StoreUnavailable):
        return await read_live(means.pool)
    return before


async def _end(running: asyncio.Task[None] | None) -> None:
    if running is not None:
        running.cancel()
        await asyncio.wait([running])
