"""What a projection is: a table built only from events.

Also where its place is kept. The subtle part is ``advance``: the checkpoint moves by
compare-and-set in the transaction that writes the rows, so a second worker, or one that
was thought dead, rolls back and does no harm.
"""

from collections.abc import Sequence
from typing import Protocol

from ledger.domain.ids import Position
from ledger.migrations import locked
from ledger.store.codec import RecordedEvent
from ledger.store.database import Connection, Pool, translated
from ledger.store.statements import statement

_CREATE = statement("projections", "create_projections")
_INSERT = statement("projections", "insert_projection")
_LOAD = statement("projections", "load_checkpoint")
_ADVANCE = statement("projections", "advance_checkpoint")
_SEEN = statement("projections", "update_seen")
_STOPPED = statement("projections", "update_stopped")


class Projection(Protocol):
    """Turns events into rows. Its tables are named by ``name`` and ``version``."""

    name: str
    version: int

    async def create(self, connection: Connection) -> None:
        """Make the empty tables; called once, in a transaction."""
        ...

    async def create_indexes(self, connection: Connection) -> None:
        """Make the indexes that only readers need, where they are not there."""
        ...

    async def drop_indexes(self, connection: Connection) -> None:
        """Drop those indexes, for as long as very many rows are written."""
        ...

    async def apply(
        self, connection: Connection, events: Sequence[RecordedEvent]
    ) -> None:
        """Write the rows for ``events``: consecutive, each one exactly once.

        Called in the transaction that moves the checkpoint; whatever is raised rolls
        both back.
        """
        ...


class Overtaken(Exception):
    """Another worker moved the checkpoint first."""


async def create_tables(
    connection: Connection, projections: Sequence[Projection]
) -> list[str]:
    """Make the tables of projections that have none; their names.

    Safe for several processes at once, as migrations are.
    """
    created = []
    with translated():
        async with locked(connection), connection.transaction():
            await connection.execute(_CREATE)
            for projection in projections:
                name, version = projection.name, projection.version
                if await connection.fetchval(_INSERT, name, version):
                    await projection.create(connection)
                    created.append(f"{name}_v{version}")
    return created


async def load_checkpoint(pool: Pool, projection: Projection) -> Position:
    """The position that ``projection`` has reached."""
    with translated():
        found = await pool.fetchval(_LOAD, projection.name, projection.version)
    return Position(found)


async def advance(
    connection: Connection, projection: Projection, events: Sequence[RecordedEvent]
) -> Position:
    """Move the checkpoint over ``events`` and write their rows, in one transaction.

    Raises:
        Overtaken: another worker has done some of them; nothing was written.
    """
    last = events[-1].position
    async with connection.transaction():
        # First the checkpoint: its row lock makes a second worker wait here, where it
        # has written nothing yet, instead of in the middle of the rows.
        moved = await connection.fetchrow(
            _ADVANCE,
            projection.name,
            projection.version,
            events[0].position - 1,
            last,
        )
        if moved is None:
            raise Overtaken
        await projection.apply(connection, events)
    return last


async def say_running(pool: Pool, projection: Projection) -> None:
    """Let readers know that the worker lives."""
    with translated():
        await pool.execute(_SEEN, projection.name, projection.version)


async def say_stopped(pool: Pool, projection: Projection, reason: str) -> None:
    """Let readers know why the projection does not go on."""
    with translated():
        await pool.execute(_STOPPED, projection.name, projection.version, reason)
