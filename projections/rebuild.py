"""Builds the next version of a projection beside the one that serves, and switches.

Phases, each safe to be killed in: *filling* (slices, by several processes), *indexing*,
*catching up* (the tail, as any worker does), *compared*; then one short transaction
lets the new version answer. The old one stays, and is kept up to date, until it is
dropped. Never renames a table, and never changes what is read by who serves now.

The subtle part is the switch. Both versions are held still, by the row locks that every
worker takes first; what one lacks of the other is applied; of whom something came since
they were compared is compared again; and the pointer moves with an event in the ledger
that says what changed and who accepted it.
"""

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final, NamedTuple

from ledger.domain.events import ProjectionSwitched
from ledger.domain.ids import THE_LEDGER, Position, SubjectId, Version
from ledger.errors import (
    NotFound,
    RebuildBlocked,
    RebuildCancelled,
    RebuildRunning,
    StoreUnavailable,
)
from ledger.migrations import locked
from ledger.store.codec import encode_open
from ledger.store.database import Connection, connect, translated
from ledger.store.event_store import Appended
from ledger.store.postgres import append_with
from ledger.store.statements import at_versions, statement
from projections.projection import Change, Overtaken, Projection, advance
from projections.registry import SHAPES, Live, newest
from projections.worker import Means, Worker

_LOCK = statement("projections", "lock_rebuild")
_READ = statement("projections", "read_rebuild")
_READ_SERVING = statement("projections", "read_serving")
_READ_LAST = statement("projections", "read_last_version")
_INSERT = statement("projections", "insert_rebuild")
_UPDATE_PHASE = statement("projections", "update_phase")
_DELETE = statement("projections", "delete_rebuild")
_COPY_GRANTS = statement("projections", "copy_grants")
_FOLLOW = statement("projections", "insert_live")
_DROP_LIVE = statement("projections", "delete_live")
_HOLD = statement("projections", "hold_versions")
_POINT = statement("projections", "update_pointer")
_READ_VERSION = statement("projections", "read_ledger_version")
_READ_POSITIONS = statement("projections", "read_positions")
_READ_OTHERS = statement("projections", "read_others")

EXAMPLES_MAX: Final = 20
_TRIES_MAX: Final = 20


class Target(NamedTuple):
    """The version that is being built, and the one that serves."""

    live: Live
    serving: Live
    frontier: Position
    phase: str

    @property
    def projection(self) -> Projection:
        """The version that is being built."""
        return SHAPES[self.live.name, self.live.shape](self.live.version)


class Comparison(NamedTuple):
    """What the new version says otherwise, at a position."""

    position: Position
    changes: list[Change]

    @property
    def report_id(self) -> str:
        """The same differences have the same, whenever they are found."""
        told = [(c.was, c.becomes, c.digest) for c in self.changes]
        return hashlib.sha256(repr(told).encode()).hexdigest()[:12]

    @property
    def risks(self) -> list[Change]:
        """Those by which somebody would be texted who was not."""
        return [change for change in self.changes if change.is_risk]


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


async def begin(connection: Connection, name: str) -> Target:
    """The version to build: one that was begun, or the next one, with empty tables.

    Raises:
        NotFound: there is no such projection.
        RebuildCancelled: what was begun has a shape that this release does not know.
    """
    with translated():
        async with locked(connection), connection.transaction():
            row = await connection.fetchrow(_READ_SERVING, name)
            if row is None:
                raise NotFound(f"there is no projection {name!r}")
            serving = Live(*row)
            begun = await connection.fetchrow(_READ, name)
            if begun is not None:
                version, shape, frontier, phase = begun
                if (name, shape) not in SHAPES:
                    raise RebuildCancelled(
                        "it was begun by another release: go on with that one, or "
                        "--cancel"
                    )
                return Target(Live(name, version, shape), serving, frontier, phase)
            return await _create(connection, serving)


async def _create(connection: Connection, serving: Live) -> Target:
    name = serving.name
    last = await connection.fetchval(_READ_LAST, name)
    projection = newest(name, last + 1)
    live = Live(name, projection.version, projection.shape)
    frontier = await connection.fetchval(_INSERT, *live)
    await projection.create(connection)
    for table in newest(name, 1).tables:
        tables = (
            at_versions(table.name, ((name, version),))
            for version in (serving.version, live.version)
        )
        await connection.execute(_COPY_GRANTS, *tables)
    functions = (f"{name}_v{v}_erase" for v in (serving.version, live.version))
    await connection.execute(_COPY_GRANTS, *functions)
    return Target(live, serving, Position(frontier), "filling")


async def index(connection: Connection, target: Target) -> None:
    """Make the indexes that were left out while rows were copied."""
    await _enter(connection, target, "indexing")
    with translated():
        await target.projection.create_indexes(connection)


async def follow(connection: Connection, target: Target, means: Means) -> None:
    """Have the new version kept up to date from the frontier, and catch up."""
    await _enter(connection, target, "catching up")
    with translated():
        await connection.execute(_FOLLOW, *target.live, target.frontier)
    await _catch_up((target.projection,), means)
    # From here on whoever keeps projections up to date keeps this one as well.
    await _enter(connection, target, "compared")


async def compare(connection: Connection, target: Target, means: Means) -> Comparison:
    """What the new version says otherwise, with both at one position.

    Raises:
        StoreUnavailable: they do not come to stand at one.
    """
    old = SHAPES[target.serving.name, target.serving.shape](target.serving.version)
    for _ in range(_TRIES_MAX):
        with translated():
            async with connection.transaction(
                isolation="repeatable_read", readonly=True
            ):
                positions = await _positions(connection, target)
                if len(set(positions)) == 1:
                    changes = await target.projection.changes(
                        connection, target.serving.version, EXAMPLES_MAX
                    )
                    return Comparison(positions[0], changes)
        rung = means.doorbell.count
        await _catch_up((old, target.projection), means)
        await means.doorbell.wait_after(rung)
    raise StoreUnavailable("the two versions do not come to stand at one position")


async def switch(  # noqa: PLR0913 - each of them says what is switched, and why
    connection: Connection,
    target: Target,
    compared: Comparison,
    means: Means,
    *,
    actor: str,
    accepted: str | None = None,
) -> Position:
    """Let the new version answer; the position of the event that says so.

    Raises:
        RebuildBlocked: somebody would be texted who was not, and nobody has accepted
            just that.
        StoreUnavailable: it is not known to be done; safe to try again.
    """
    if compared.risks and accepted != compared.report_id:
        raise RebuildBlocked(blocked_by(compared))
    with translated():
        async with connection.transaction():
            await _hold(connection, target, compared, means)
            position = await _point(
                connection, target.serving, target.live, compared, actor
            )
            await connection.execute(_DELETE, target.live.name)
    return position


async def go_back(connection: Connection, name: str, actor: str) -> tuple[int, int]:
    """Let the version before answer again; the versions from and to.

    Raises:
        NotFound: there is none that is kept up to date.
    """
    with translated():
        async with locked(connection), connection.transaction():
            serving = await _serving(connection, name)
            others = await connection.fetch(_READ_OTHERS, name)
            if not others:
                raise NotFound(f"version {serving.version} is the only one there is")
            before = Live(*others[0])
            await _point(
                connection, serving, before, Comparison(Position(0), []), actor
            )
    return serving.version, before.version


async def drop_old(connection: Connection, name: str) -> list[int]:
    """Drop every version that neither serves nor is being built; which they were."""
    dropped = []
    with translated():
        async with locked(connection), connection.transaction():
            await _serving(connection, name)
            for row in await connection.fetch(_READ_OTHERS, name):
                old = Live(*row)
                await connection.execute(_DROP_LIVE, name, old.version)
                await newest(name, old.version).drop(connection)
                dropped.append(old.version)
    return dropped


async def cancel(connection: Connection, name: str) -> int:
    """Forget the version that is being built; which it was. Its processes end.

    Raises:
        NotFound: none is being built.
    """
    with translated():
        async with locked(connection), connection.transaction():
            begun = await connection.fetchrow(_READ, name)
            if begun is None:
                raise NotFound(f"no version of {name!r} is being built")
            version: int = begun[0]
            # Waits for what processes are writing now; what they write next objects.
            await connection.execute(_DELETE, name)
            await connection.execute(_DROP_LIVE, name, version)
            await newest(name, version).drop(connection)
    return version


def blocked_by(compared: Comparison) -> str:
    """Why a switch is refused, and what to do."""
    counts = ", ".join(f"{c.numbers} {c.was} to {c.becomes}" for c in compared.risks)
    return f"{counts}: look at them, then --accept {compared.report_id}"


async def _hold(
    connection: Connection, target: Target, compared: Comparison, means: Means
) -> None:
    """Hold both versions still, at one position, and compared up to it."""
    rows = await connection.fetch(
        _HOLD, target.live.name, [target.serving.version, target.live.version]
    )
    stand = {row[0]: Position(row[1]) for row in rows}
    if len(stand) != 2:  # noqa: PLR2004 - the two versions
        raise RebuildCancelled("a version is gone, meanwhile")
    old, new = stand[target.serving.version], stand[target.live.version]
    last = max(old, new)
    worker = Worker((target.projection,), means)
    if new < last:
        batch = await worker.read(new, last - new, (target.projection,))
        await advance(connection, (target.projection,), batch)
    elif old < last:
        serving = SHAPES[target.serving.name, target.serving.shape]
        projection = serving(target.serving.version)
        batch = await worker.read(old, last - old, (projection,))
        await advance(connection, (projection,), batch)
    if last > compared.position:
        since = await means.store.read_after(
            compared.position, last - compared.position
        )
        touched = {SubjectId(event.originator_id) for _, event in since}
        changes = await target.projection.changes(
            connection, target.serving.version, EXAMPLES_MAX, touched
        )
        fresh = Comparison(last, [c for c in changes if c.is_risk])
        if fresh.risks and not compared.risks:
            raise RebuildBlocked(blocked_by(fresh))


async def _point(
    connection: Connection, old: Live, new: Live, compared: Comparison, actor: str
) -> Position:
    """Move the pointer, and say so in the ledger, in the caller's transaction."""
    await connection.execute(_POINT, new.name, new.version)
    version = await connection.fetchval(_READ_VERSION, THE_LEDGER)
    fields = {
        "projection": new.name,
        "from_version": old.version,
        "to_version": new.version,
        "report_id": compared.report_id,
        "changes": [_told(change) for change in compared.changes],
        "accepted": bool(compared.risks),
        "actor": actor,
    }
    next_version = Version((version or 0) + 1)
    entry = encode_open(ProjectionSwitched, THE_LEDGER, next_version, fields)
    [outcome] = await append_with(connection, [entry])
    if not isinstance(outcome, Appended):
        raise StoreUnavailable("the ledger's own stream has grown meanwhile")
    return outcome.position


def _told(change: Change) -> dict[str, object]:
    return {
        "was": change.was,
        "becomes": change.becomes,
        "numbers": change.numbers,
        "examples": [str(subject_id) for subject_id in change.examples],
    }


async def _enter(connection: Connection, target: Target, phase: str) -> None:
    with translated():
        done = await connection.execute(_UPDATE_PHASE, target.live.name, phase)
    if done.endswith(" 0"):
        raise RebuildCancelled("by --cancel, meanwhile")


async def _serving(connection: Connection, name: str) -> Live:
    row = await connection.fetchrow(_READ_SERVING, name)
    if row is None:
        raise NotFound(f"there is no projection {name!r}")
    return Live(*row)


async def _positions(connection: Connection, target: Target) -> list[Position]:
    versions = [target.serving.version, target.live.version]
    rows = await connection.fetch(_READ_POSITIONS, target.live.name, versions)
    return [Position(row[0]) for row in rows]


async def _catch_up(projections: Sequence[Projection], means: Means) -> None:
    """Apply what there is; whoever else does it at the same time is welcome."""
    for projection in projections:
        with suppress(Overtaken):
            await Worker((projection,), means).catch_up()
