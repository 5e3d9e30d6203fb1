"""What another version of a projection says otherwise than the one that serves.

Both at one position, in one snapshot; never moves the pointer, and never fills a table
beyond the few events that one version lacks of the other.

The subtle part is a version that serves and cannot be compared. Of one that has stopped
whoever has said nothing since is compared; of one that cannot be read, since a table or
a column of it is gone, nobody is. What is not compared is for somebody to accept, where
the tables say whom may be texted.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple

import asyncpg

from ledger.domain.ids import Position
from ledger.errors import RebuildCancelled, RebuildStuck, StoreUnavailable
from ledger.store.database import Connection, is_passing, translated
from ledger.store.statements import statement
from projections.projection import (
    Change,
    Dropped,
    Overtaken,
    Projection,
    read_nothing,
)
from projections.proof import have_applied_the_same
from projections.rebuild import Target, made
from projections.worker import Means, Worker

_READ_POSITIONS = statement("projections", "read_positions")
_READ_STOPPED = statement("projections", "read_stopped")
_COUNT_SUBJECTS = statement("projections", "count_subjects_between")

EXAMPLES_MAX: Final = 20
TRIES_MAX: Final = 50
BOTH: Final = 2


class Stopped(NamedTuple):
    """Where the version that serves cannot go on; 0 where it cannot be read at all."""

    position: Position
    reason: str
    numbers: int
    """How many have said something since, and are not compared."""
    is_risk: bool
    """Whether one of them may be texted who was not: where the tables say of that."""
    is_readable: bool = True

    def __str__(self) -> str:
        """What is so, and what that keeps from being compared."""
        if self.is_readable:
            return (
                f"has stopped after {self.position}, and {self.numbers} that said "
                "something since cannot be compared"
            )
        return f"cannot be read, and none of {self.numbers} can be compared"


class Comparison(NamedTuple):
    """What the new version says otherwise, at a position."""

    position: Position
    changes: list[Change]
    have_applied_the_same: bool = True
    """If not, it is the version that serves which has not applied what it should."""
    stopped: Stopped | None = None

    @property
    def report_id(self) -> str:
        """The same risks have the same, whenever they are found; or the same changes.

        Where somebody would be texted only that counts: the other changes come and go
        with every text, and whoever accepts could never be in time.
        """
        told: list[object] = [
            (c.was, c.becomes, c.digest) for c in self.risks or self.changes
        ]
        if self.stopped:
            told.append((self.stopped.position, self.stopped.is_readable))
        return hashlib.sha256(repr(told).encode()).hexdigest()[:12]

    @property
    def risks(self) -> list[Change]:
        """Those by which somebody would be texted who was not."""
        return [change for change in self.changes if change.is_risk]

    @property
    def is_to_be_accepted(self) -> bool:
        """Whether somebody would be texted who was not, as far as it is known."""
        return bool(self.risks) or (self.stopped is not None and self.stopped.is_risk)


async def compare(connection: Connection, target: Target, means: Means) -> Comparison:
    """What the new version says otherwise, with both at one position.

    Or, where the one that serves has stopped, of whoever has said nothing since; where
    it cannot be read, of nobody.

    Raises:
        RebuildCancelled: one of the versions was dropped meanwhile.
        RebuildStuck: one of them takes no more events, or the new one cannot be read.
        StoreUnavailable: they do not come to stand at one.
    """
    for _ in range(TRIES_MAX):
        rung = means.doorbell.count
        try:
            stopped = await _bring_near(connection, target, means)
            found = await _compare(connection, target, means, stopped)
        except RebuildStuck:
            stopped = await _unreadable(connection, target)
            if stopped is None:
                raise
            await _catch_up(target, means, target.projection)
            found = await _compare(connection, target, means, stopped)
        if found is not None:
            return found
        await means.doorbell.wait_after(rung)
    raise StoreUnavailable("the two versions do not come to stand at one position")


async def _bring_near(
    connection: Connection, target: Target, means: Means
) -> Stopped | None:
    """Have both apply what there is; where the one that serves has stopped, or None."""
    serving = made(target.serving)
    stopped: Stopped | None = None
    try:
        await _catch_up(target, means, serving)
    except StoreUnavailable:
        raise
    except Exception:
        # Whoever keeps it up to date has met the same, and said so.
        stopped = await _stopped(connection, target)
        if stopped is None:
            raise
    await _catch_up(target, means, target.projection)
    if stopped is None:
        await _catch_up(target, means, serving, target.projection)
    return stopped


async def _catch_up(target: Target, means: Means, *versions: Projection) -> None:
    # Whoever else does it at the same time is welcome.
    with suppress(Overtaken), _told_stuck(target, versions):
        await Worker(versions, means).catch_up()


async def _stopped(connection: Connection, target: Target) -> Stopped | None:
    """Where the version that serves has stopped, by whoever keeps it up to date."""
    with translated():
        reason = await connection.fetchval(_READ_STOPPED, *target.serving[:2])
        stand = await _positions(connection, target)
    if reason is None:
        return None
    serving = made(target.serving)
    return Stopped(stand[serving.version], reason, 0, serving.says_consent)


async def _unreadable(connection: Connection, target: Target) -> Stopped | None:
    """Why nothing can be compared with the version that serves, if that is so.

    A table or a column is gone; or a page is broken, so that it cannot be compared with
    itself either. That reads all of it, and is done only where something has failed.

    Raises:
        RebuildCancelled: one of the versions was dropped meanwhile.
    """
    serving = made(target.serving)
    with translated():
        await _positions(connection, target)
        try:
            await read_nothing(connection, serving.tables)
            await serving.changes(connection, serving.version, 0)
        except asyncpg.PostgresError as error:
            if is_passing(error):
                raise
            reason = type(error).__name__
            return Stopped(
                Position(0), reason, 0, serving.says_consent, is_readable=False
            )
    return None


async def _compare(
    connection: Connection, target: Target, means: Means, stopped: Stopped | None
) -> Comparison | None:
    """Of one snapshot; None where the versions stand at different positions."""
    name, version, serving = *target.live[:2], target.serving.version
    with translated():
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            stand = await _positions(connection, target)
            position = stand[version]
            if stopped is not None:
                span = (stopped.position, position)
                numbers = await connection.fetchval(_COUNT_SUBJECTS, *span)
                stopped = stopped._replace(numbers=numbers)
            elif stand[serving] != position:
                return None
            changes = await _changes(connection, target, stopped)
            alike = await have_applied_the_same(
                connection, means.keyring, name, serving, version
            )
    return Comparison(position, changes, alike, stopped)


async def _changes(
    connection: Connection, target: Target, stopped: Stopped | None
) -> list[Change]:
    serving, new = made(target.serving), target.projection
    # Where there is nothing to compare it with, at least it can be read.
    other = new
    if stopped is None or stopped.is_readable:
        other = serving
        with _told_stuck(target, (serving,)):
            await read_nothing(connection, serving.tables)
    # If it is not the new version that cannot be read, that is found next.
    with _told_stuck(target, (new,)):
        await read_nothing(connection, new.tables)
        return await new.changes(
            connection, other.version, EXAMPLES_MAX, until=stopped and stopped.position
        )


@contextmanager
def _told_stuck(target: Target, versions: Sequence[Projection]) -> Iterator[None]:
    """What no waiting would change is said of the versions whose tables refuse.

    Raises:
        RebuildStuck: they do.
        RebuildCancelled: there is no such version any more.
        StoreUnavailable: as ``translated``.
    """
    try:
        with translated():
            yield
    except Dropped as error:
        raise RebuildCancelled("a version is gone, meanwhile") from error
    except asyncpg.PostgresError as error:
        which = " and ".join(str(projection.version) for projection in versions)
        # Not its message, which may show a row.
        raise RebuildStuck(
            f"{target.live.name} version {which}: {type(error).__name__}"
        ) from error


def blocked_by(compared: Comparison) -> str:
    """Why a switch is refused, and what to do."""
    why = [f"{c.numbers} {c.was} to {c.becomes}" for c in compared.risks]
    if compared.stopped:
        why.append(f"the version that serves {compared.stopped}")
    return f"{', '.join(why)}: look at them, then --accept {compared.report_id}"


async def _positions(connection: Connection, target: Target) -> dict[int, Position]:
    """Where each version stands."""
    versions = [target.serving.version, target.live.version]
    rows = await connection.fetch(_READ_POSITIONS, target.live.name, versions)
    if len(rows) != BOTH:
        raise RebuildCancelled("a version is gone, meanwhile")
    return {row[0]: Position(row[1]) for row in rows}
