"""The projector process: composition root of everything that fills tables.

What ``consent-ledger project`` runs, and ``serve`` beside the web processes.
"""

import asyncio
import gc
import os
import signal
import sys
from typing import Final

from ledger.migrations import migrate
from ledger.settings import Settings
from ledger.store.database import Connection, open_pool
from ledger.store.keyring import Keyring
from ledger.store.master import MasterKeys
from ledger.store.postgres import PostgresEventStore
from ledger.store.subscription import Doorbell
from projections.consent_history import ConsentHistory
from projections.phone_numbers import PhoneNumbers
from projections.projection import Projection, create_tables
from projections.worker import Means, Worker

PROJECTIONS: Final[tuple[Projection, ...]] = (PhoneNumbers(), ConsentHistory())

GARBAGE_MIN: Final = 100_000
"""Objects made before cycles are looked for. A batch is tens of thousands that live for
a moment and have none: with Python's 700, looking is a fifth of catching up."""

NICENESS: Final = 10
"""Beside web processes: texts are recorded first and shown later."""


async def migrate_all(connection: Connection) -> list[str]:
    """Bring the ledger's schema and the projections' tables up to date."""
    applied = await migrate(connection)
    return applied + await create_tables(connection, PROJECTIONS)


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
        worker = Worker(PROJECTIONS, Means(pool, store, keyring, bell, settings))
        running = group.create_task(worker.run())
        await stop.wait()
        running.cancel()
