"""Reads the whole ledger as the eventsourcing library does, and maps every event.

``python -m bench.library SOCKET_DIR DATABASE`` prints JSON. In a process of its own, as
the projector is; imports and connecting are not counted for either.
"""

import json
import sys
import time
from typing import Final
from uuid import UUID

from eventsourcing.application import Application

SECTION: Final = 5_000


class Ledger(Application[UUID]):
    """A stock application: its name is what makes the table ``ledger_events``."""

    # Its default of 10 would be thirty times slower: we compare with its best.
    log_section_size = SECTION


def _main(socket_dir: str, database: str) -> None:
    env = {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_HOST": socket_dir,
        "POSTGRES_PORT": "5432",
        "POSTGRES_DBNAME": database,
        "POSTGRES_USER": "postgres",
        "POSTGRES_PASSWORD": "none",
        "CREATE_TABLE": "n",
    }
    with Ledger(env) as app:
        app.notification_log.select(1, 1)
        started = time.perf_counter()
        events = _read(app)
        seconds = time.perf_counter() - started
    print(json.dumps({"events": events, "seconds": seconds}))


def _read(app: Application[UUID]) -> int:
    events = 0
    while found := app.notification_log.select(events + 1, SECTION):
        for notification in found:
            app.mapper.to_domain_event(notification)
        events += len(found)
    return events


if __name__ == "__main__":
    _main(*sys.argv[1:3])
