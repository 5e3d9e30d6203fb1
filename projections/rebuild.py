"""Builds the next version of a projection beside the one that serves.

Phases, each safe to be killed in: *filling* (slices, by several processes), *indexing*,
*catching up* (the tail, as any worker does), *compared*; then ``switching`` lets it
answer. The old one stays, and is kept up to date, until it is dropped. Never
renames a table, never changes what is read by who serves now, and never gives a
version's number twice.

The subtle part is what others wait for. Every append waits for an erasure, and that for
the rows which say what is being built; so none of those is held while a table is
waited for. What is cancelled is first marked, and its tables are dropped after that.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final, NamedTuple

import asyncpg

from ledger.domain.ids import Position
from ledger.errors import NotFound, RebuildCancelled, RebuildRunning
from ledger.migrations import locked
from ledger.store.database import Connection, connect, translated
from ledger.store.statements import at_versions, statement
from projections.filling import EVENTS_A_SLICE
from projections.projection import Dropped, Projection
from projections.registry import SHAPES, Live, newest
from projections.slices import slices_for
from projections.worker import Means, Worker

_LOCK = statement("projections", "lock_rebuild")
_READ = statement("projections", "read_rebuild")
_READ_SERVING = statement("projections", "read_serving")
_READ_FRONTIER = statement("projections", "read_frontier")
_NEXT_VERSION = statement("projections", "next_version")
_INSERT = statement("projections", "insert_rebuild")
_UPDATE_PHASE = statement("projections", "update_phase")
_DELETE = statement("projections", "delete_rebuild")
_COPY_GRANTS = statement("projections", "copy_grants")
_FOLLOW = statement("projections", "insert_live")
_DROP_LIVE = statement("projections", "delete_live")
_READ_OTHERS = statement("projections", "read_others")
_SET_LOCK_TIMEOUT = statement("projections", "set_lock_timeout")

_CANCELLED: Final = "cancelled"
GONE: Final = (
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedFunctionError,
    asyncpg.ForeignKeyViolationError,
    Dropped,
)
"""What is raised where a version, or a part of it, is not there any more."""


class Target(NamedTuple):
    """The version that is being built, and the one that serves."""

    live: Live
    serving: Live
    frontier: Position
    slices: int
    """In how many ranges of subjects it is filled."""
    phase: str

    @property
    def projection(self) -> Projection:
        """The version that is being built."""
        return made(self.live)


@asynccontextmanager
async def alone(dsn: str, name: str) -> AsyncIterator[Connection]:
    """A connection by which nobody else rebuilds that projection.

    Raises:
        RebuildRunning: somebody does.
        StoreUnavailable: the database cannot be used now.
    """
    connection = await connect(dsn, application="consent-ledger rebuild")
    try:
        with translated():
            if not await connection.fetchval(_LOCK, name):
                raise RebuildRunning(f"{name}; --cancel stops it")
        yield connection
    finally:
        await connection.close()


async def frontier_now(connection: Connection) -> Position:
    """The position of the newest event: what is begun now is filled up to it."""
    with translated():
        return Position(await connection.fetchval(_READ_FRONTIER))


async def begin(connection: Connection, name: str, frontier: Position) -> Target:
    """The version to build: one that was begun, or the next one, with empty tables.

    Raises:
        NotFound: there is no such projection.
        RebuildCancelled: what was begun, or what serves, has other columns than this
            release would make, or than it knows.
    """
    with translated():
        if (begun := await _begun(connection, name)) and begun[1] == _CANCELLED:
            await cancel(connection, name)
        async with locked(connection), connection.transaction():
            serving = await serving_version(connection, name)
            # It will be compared with that, and hours of work would be for nothing.
            made(serving)
            row = await connection.fetchrow(_READ, name)
            if row is None:
                return await _create(connection, serving, frontier)
            version, shape, frontier, slices, phase = row
            live = Live(name, version, shape)
            if made(live).shape != newest(name, version).shape:
                raise RebuildCancelled(
                    f"{name} version {version} was begun with the columns of an older "
                    "release: --cancel it, and begin again"
                )
            return Target(live, serving, frontier, slices, phase)


async def _create(connection: Connection, serving: Live, frontier: Position) -> Target:
    name = serving.name
    projection = newest(name, await connection.fetchval(_NEXT_VERSION, name))
    live = Live(name, projection.version, projection.shape)
    slices = slices_for(frontier, EVENTS_A_SLICE)
    await connection.execute(_INSERT, *live, frontier, slices)
    await projection.create(connection)
    for table in newest(name, 1).tables:
        tables = (
            at_versions(table.name, ((name, version),))
            for version in (serving.version, live.version)
        )
        await connection.execute(_COPY_GRANTS, *tables)
    functions = (f"{name}_v{v}_erase" for v in (serving.version, live.version))
    await connection.execute(_COPY_GRANTS, *functions)
    return Target(live, serving, frontier, slices, "filling")


async def index(connection: Connection, target: Target) -> None:
    """Make the indexes that were left out while rows were copied.

    Raises:
        RebuildCancelled: the version is not to be built any more.
    """
    await _enter(connection, target, "indexing")
    with uncancelled():
        await target.projection.create_indexes(connection)


async def follow(connection: Connection, target: Target, means: Means) -> None:
    """Have the new version kept up to date from the frontier, and catch up.

    Raises:
        RebuildCancelled: the version is not to be built any more.
    """
    with uncancelled():
        async with connection.transaction():
            await _enter(connection, target, "catching up")
            await connection.execute(_FOLLOW, *target.live, target.frontier)
        await Worker((target.projection,), means).catch_up()
    # From here on whoever keeps projections up to date keeps this one as well.
    await _enter(connection, target, "compared")


async def drop_old(connection: Connection, name: str) -> list[int]:
    """Drop every version that neither serves nor is being built; which they were.

    Raises:
        StoreUnavailable: somebody reads one of them for long; nothing was dropped.
        RebuildCancelled: one has a shape that this release does not know.
    """
    dropped = []
    with translated():
        async with locked(connection), connection.transaction():
            await connection.execute(_SET_LOCK_TIMEOUT)
            await serving_version(connection, name)
            for old in await others(connection, name):
                await connection.execute(_DROP_LIVE, name, old.version)
                await made(old).drop(connection)
                dropped.append(old.version)
    return dropped


async def cancel(connection: Connection, name: str) -> int:
    """Forget the version that is being built; which it was. Its processes end.

    Waits for an index that is being made, though nobody else does.

    Raises:
        NotFound: none is being built.
        RebuildCancelled: it has a shape that this release does not know.
    """
    with translated():
        begun = await _begun(connection, name)
        if begun is None:
            raise NotFound(f"no version of {name!r} is being built")
        live = begun[0]
        projection = made(live)
        async with connection.transaction():
            await connection.execute(_UPDATE_PHASE, name, live.version, _CANCELLED)
            await connection.execute(_DROP_LIVE, name, live.version)
        # Killed from here on, it is cancelled all the same, and dropped by whoever
        # cancels or begins next. Who fills holds its row here and then the tables: so
        # the row goes after the tables, and not with them, or one would wait for the
        # other in a circle.
        async with connection.transaction():
            await projection.drop(connection)
        await forget(connection, live)
    return live.version


def made(live: Live) -> Projection:
    """A version, in its own shape.

    Raises:
        RebuildCancelled: this release does not know that shape.
    """
    if not live.is_known:
        raise RebuildCancelled(
            f"{live.name} version {live.version} has columns that this release does "
            "not know: use the release that made it"
        )
    return SHAPES[live.name, live.shape](live.version)


async def serving_version(connection: Connection, name: str) -> Live:
    """The version that answers.

    Raises:
        NotFound: there is no such projection.
    """
    row = await connection.fetchrow(_READ_SERVING, name)
    if row is None:
        raise NotFound(f"there is no projection {name!r}")
    return Live(*row)


async def others(connection: Connection, name: str) -> list[Live]:
    """The versions that neither answer nor are being built, newest first."""
    return [Live(*row) for row in await connection.fetch(_READ_OTHERS, name)]


async def forget(connection: Connection, live: Live) -> None:
    """Have it that nobody builds this version."""
    await connection.execute(_DELETE, live.name, live.version)


@contextmanager
def uncancelled() -> Iterator[None]:
    """What is used here is gone only where it was dropped meanwhile.

    Raises:
        RebuildCancelled: it was.
        StoreUnavailable: as ``translated``.
    """
    try:
        with translated():
            yield
    except GONE as error:
        raise RebuildCancelled(
            "by --cancel, meanwhile; if nobody did that, a table of it is gone: "
            "--cancel it, and begin again"
        ) from error


async def _begun(connection: Connection, name: str) -> tuple[Live, str] | None:
    row = await connection.fetchrow(_READ, name)
    return None if row is None else (Live(name, row[0], row[1]), row[4])


async def _enter(connection: Connection, target: Target, phase: str) -> None:
    with translated():
        done = await connection.execute(_UPDATE_PHASE, *target.live[:2], phase)
    if done.endswith(" 0"):
        raise RebuildCancelled("by --cancel, meanwhile")
