"""Fills an empty ledger through COPY, with what the event store would have written.

Two processes of ``making`` make rows; this one puts them in order and copies them, a
chunk and the counter that counts it in one transaction: whoever looks sees a ledger
that is right, whenever it is. Drops nothing, not even for a while. The subtle part is
indexes, which are filled as rows come: built at the end they would be tighter than any
that appends have made, and reads of them faster.
"""

import asyncio
import multiprocessing
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from typing import Final

import asyncpg
import psycopg

from bench.making import Chunk, make
from bench.story import Shape, day_names
from ledger.master_key import load_master_keys
from ledger.progress import Advance
from ledger.settings import Settings
from ledger.store.keyring import Keyring, day_purpose
from ledger.store.master import KEY_BYTES
from projections.app import migrate_all

MAKERS: Final = 2

_COPIES: Final = {
    "events": """
        COPY ledger_events
            (originator_id, originator_version, topic, state, notification_id)
        FROM STDIN (FORMAT BINARY)
    """,
    "signals": "COPY signal_keys (signal_key, position) FROM STDIN (FORMAT BINARY)",
    "subjects": """
        COPY subject_keys (subject_id, wrapped_key, master_key)
        FROM STDIN (FORMAT BINARY)
    """,
}
_INSERT_DAY: Final = """
    INSERT INTO evidence_keys (name, wrapped_key, master_key) VALUES ($1, $2, $3)
"""
_LOCK: Final = "SELECT position FROM ledger_position FOR UPDATE"
_MOVE: Final = "UPDATE ledger_position SET position = %s, recorded_at = %s"
_NOTIFY: Final = "SELECT pg_notify('ledger_events', %s)"

# PostgreSQL manual, COPY, "Binary Format".
_BEGIN: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_END: Final = b"\xff\xff"


class NotEmpty(Exception):
    """The ledger that was to be filled has events, or gets them from somebody else."""


def copy_story(
    dsn: str, given: Mapping[str, str], shape: Shape, advance: Advance
) -> None:
    """Fill the empty ledger at ``dsn``; ``given`` are settings that name its keys.

    Raises:
        NotEmpty: there are events that are not of this story.
    """
    asyncio.run(_prepare(dsn, given))
    with ExitStack() as stack:
        makers = [
            stack.enter_context(_maker(dsn, given, shape, share))
            for share in range(MAKERS)
        ]
        connection = stack.enter_context(psycopg.connect(dsn, autocommit=True))
        for first in range(1, shape.events + 1, shape.chunk):
            chunks: list[Chunk] = [maker.recv() for maker in makers]
            with connection.transaction():
                copied = _copy(connection, first, chunks)
            advance(copied)


async def _prepare(dsn: str, given: Mapping[str, str]) -> None:
    """Tables, an identity, and a secret for each day that will seal evidence."""
    masters = load_master_keys(Settings.from_mapping(given))
    connection = await asyncpg.connect(dsn)
    try:
        await migrate_all(connection)
        if await connection.fetchval("SELECT position FROM ledger_position"):
            raise NotEmpty("the ledger has events already; give an empty one")
        await Keyring(connection, masters).identity()
        days = [
            (name, *masters.wrap(os.urandom(KEY_BYTES), day_purpose(name)))
            for name in day_names()
        ]
        await connection.executemany(_INSERT_DAY, days)
    finally:
        await connection.close()


@contextmanager
def _maker(
    dsn: str, given: Mapping[str, str], shape: Shape, share: int
) -> Iterator[Connection]:
    """A process that makes the rows of its share of the numbers, a chunk ahead."""
    # Not forked: this process may have threads, and locks that a child would keep.
    context = multiprocessing.get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(
        target=make,
        args=(sending, dsn, dict(given), shape, (share, MAKERS)),
        daemon=True,
    )
    process.start()
    sending.close()
    try:
        yield receiving
    finally:
        receiving.close()
        process.terminate()
        process.join()


def _copy(
    connection: psycopg.Connection[tuple[int]], first: int, chunks: Sequence[Chunk]
) -> int:
    """Copy a chunk that begins at ``first``, and move the counter; how many events."""
    events = sorted(row for chunk in chunks for row in chunk.events)
    rows = {
        "events": b"".join([row for _, row in events]),
        "signals": b"".join([chunk.signals for chunk in chunks]),
        "subjects": b"".join([chunk.subjects for chunk in chunks]),
    }
    last, _ = events[-1]
    with connection.cursor() as cursor:
        found = cursor.execute(_LOCK).fetchone()
        if found != (first - 1,):
            raise NotEmpty(f"somebody else appends: position {found}, not {first - 1}")
        for name, statement in _COPIES.items():
            with cursor.copy(statement) as copy:
                copy.write(_BEGIN + rows[name] + _END)
        cursor.execute(_MOVE, (last, chunks[0].recorded_at))
        cursor.execute(_NOTIFY, (str(last),))
    return len(events)
