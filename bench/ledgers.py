"""Large ledgers, filled and projected; kept in a folder, since they take minutes.

``python -m bench data`` makes one; a row of the bench gets one by ``kept_ledger``. The
projections are the projector's own work, as ``consent-ledger project`` does it.
"""

import asyncio
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import asyncpg
import psycopg

from bench.copying import copy_story
from bench.database import LAG, Database
from bench.service import NotStarted, environment, postgres, projecting
from bench.story import Shape
from ledger.progress import shown_progress
from projections.app import PROJECTIONS, migrate_all

KEPT: Final = Path(".bench")
"""Where ledgers are kept, below the working directory."""
EVENTS_SMALL: Final = 100_000
EVENTS_LARGE: Final = 5_000_000
EVENTS_A_NUMBER: Final = 5

_POLL_SECONDS: Final = 0.5
_STOPPED: Final = """
    SELECT name, stopped_reason FROM projections WHERE stopped_reason IS NOT NULL
"""

Say = Callable[[str], None]


def shape_of(events: int, numbers: int | None = None, seed: int = 1) -> Shape:
    """A story of so many events, of five a number where it is not said.

    Raises:
        ValueError: there are more numbers than events for them.
    """
    return Shape(events, numbers or max(1, events // EVENTS_A_NUMBER), seed)


@contextmanager
def kept_ledger(shape: Shape, folder: Path, say: Say) -> Iterator[Database]:
    """PostgreSQL on the projected ledger of that shape, made if it is not kept.

    A kept one is brought to this release's schema and projections first.
    """
    place = folder / f"{shape.events}-of-{shape.numbers}-{shape.seed}"
    if not place.exists():
        unfinished = place.with_name(f"{place.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        fill_folder(unfinished, shape, say)
        unfinished.rename(place)
    with postgres(place) as database:
        asyncio.run(_migrate(database.dsn))
        _project(database.dsn, environment(place, 0), place / "project.log", say)
        yield database


def fill_folder(folder: Path, shape: Shape, say: Say) -> None:
    """Fill and project the ledger of an embedded PostgreSQL in ``folder``."""
    with postgres(folder) as database:
        _copy(database.dsn, {"LEDGER_DATA_DIR": str(folder)}, shape, say)
        _project(database.dsn, environment(folder, 0), folder / "project.log", say)
        _maintain(database.dsn, say)


def fill_url(dsn: str, shape: Shape, say: Say) -> None:
    """Fill and project the ledger at ``dsn``; the environment has its master key."""
    settings = {**os.environ, "DATABASE_URL": dsn}
    _copy(dsn, settings, shape, say)
    _project(dsn, settings, Path(os.devnull), say)
    _maintain(dsn, say)


def _copy(dsn: str, settings: Mapping[str, str], shape: Shape, say: Say) -> None:
    started = time.monotonic()
    with shown_progress("events", shape.events) as advance:
        copy_story(dsn, settings, shape, advance)
    say(f"{shape.events:,} events copied in {time.monotonic() - started:.0f} s")


def _project(dsn: str, env: Mapping[str, str], log: Path, say: Say) -> None:
    """Let the projector run until nothing is left for it."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        if left := _lag(connection):
            started = time.monotonic()
            with projecting(env, log) as projector:
                _wait_until_shown(connection, projector, left)
            say(f"projected in {time.monotonic() - started:.0f} s")
    # The projector's last act, if it was not stopped before it; and a kept ledger gets
    # the indexes that have come since.
    asyncio.run(_create_indexes(dsn))


def _wait_until_shown(
    connection: psycopg.Connection[tuple[int]],
    projector: subprocess.Popen[bytes],
    left: int,
) -> None:
    with shown_progress("projected", left) as advance:
        while left:
            time.sleep(_POLL_SECONDS)
            if projector.poll() is not None:
                raise NotStarted("the projector has ended; its log is beside the data")
            advance(left - (left := _lag(connection)))


def _lag(connection: psycopg.Connection[tuple[int]]) -> int:
    found = connection.execute(LAG).fetchone()
    assert found is not None
    stopped = connection.execute(_STOPPED).fetchone()
    if stopped is not None:
        raise NotStarted(f"a projection has stopped: {stopped}")
    return found[0]


def _maintain(dsn: str, say: Say) -> None:
    """What autovacuum does in its own time."""
    started = time.monotonic()
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")
    say(f"vacuumed in {time.monotonic() - started:.0f} s")


async def _migrate(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await migrate_all(connection)
    finally:
        await connection.close()


async def _create_indexes(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        for projection in PROJECTIONS:
            await projection.create_indexes(connection)
    finally:
        await connection.close()
