"""The projector process: composition root of everything that fills tables.

``python -m projections`` is what ``consent-ledger project`` and ``serve`` start.
"""

import asyncio
import os
import signal
import sys
from typing import Final

from ledger.migrations import migrate
from ledger.settings import Settings
from ledger.store.database import Connection, open_pool
from ledger.store.postgres import PostgresEventStore
from ledger.store.subscription import Doorbell
from projections.consent_history import ConsentHistory
from projections.phone_numbers import PhoneNumbers
from projections.projection import Projection, create_tables
from projections.worker import Worker

PROJECTIONS: Final[tuple[Projection, ...]] = (PhoneNumbers(), ConsentHistory())

NICENESS: Final = 10
"""Beside web processes: texts are recorded first and shown later."""


async def migrate_all(connection: Connection) -> list[str]:
    """Bring the ledger's schema and the projections' tables up to date."""
    applied = await migrate(connection)
    return applied + await create_tables(connection, PROJECTIONS)


async def project(dsn: str, settings: Settings, *, ends_with_input: bool) -> None:
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
    pool = await open_pool(dsn, settings, application="consent-ledger project")
    store = PostgresEventStore(pool)
    bell = Doorbell(dsn, "ledger_events", poll_seconds=settings.poll_seconds)
    async with pool, bell, asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(Worker(p, store, pool, bell, settings).run(), name=p.name)
            for p in PROJECTIONS
        ]
        await stop.wait()
        for task in tasks:
            task.cancel()
