"""Compares two versions of a projection, and lets the other one answer.

Forward to a version that was built, and back to the one before: both are held to the
same rule, that nobody is texted who was not, unless somebody accepts just that. Never
fills a table beyond the few events that one version lacks of the other.

A version that serves and has stopped is no reason to keep it: whoever has said nothing
since is compared, the rest cannot be, and that is for somebody to accept too.

The subtle part is the switch. Both versions are held still, by the row locks that every
worker takes first; what one lacks of the other is applied; of whom something came since
they were compared is compared again, and all of it where that shows a risk; and the
pointer moves with an event in the ledger that says what changed and who accepted it.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple

import asyncpg

from ledger.domain.events import ProjectionSwitched
from ledger.domain.ids import THE_LEDGER, Position, SubjectId, Version
from ledger.errors import (
    NotFound,
    RebuildBlocked,
    RebuildCancelled,
    RebuildStuck,
    StoreUnavailable,
)
from ledger.store.codec import encode_open
from ledger.store.database import Connection, is_passing, translated
from ledger.store.event_store import Appended
from ledger.store.postgres import append_with
from ledger.store.statements import statement
from projections.projection import Change, Overtaken, Projection, advance
from projections.proof import have_applied_the_same, unlike_stretches
from projections.rebuild import (
    GONE,
    Target,
    forget,
    made,
    others,
    serving_version,
    uncancelled,
)
from projections.worker import Means, Worker

_HOLD = statement("projections", "hold_versions")
_POINT = statement("projections", "update_pointer")
_LOCK_LEDGER = statement("projections", "lock_ledger")
_READ_VERSION = statement("projections", "read_ledger_version")
_READ_POSITIONS = statement("projections", "read_positions")
_READ_STOPPED = statement("projections", "read_stopped")
_COUNT_SUBJECTS = statement("projections", "count_subjects_between")

EXAMPLES_MAX: Final = 20
_TRIES_MAX: Final = 50
_BOTH: Final = 2


class Stopped(NamedTuple):
    """Where the version that serves cannot go on."""

    position: Position
    reason: str
    numbers: int
    """How many have said something since, and are not compared."""


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
            told.append(self.stopped.position)
        return hashlib.sha256(repr(told).encode()).hexdigest()[:12]

    @property
    def risks(self) -> list[Change]:
        """Those by which somebody would be texted who was not."""
        return [change for change in self.changes if change.is_risk]

    @property
    def is_to_be_accepted(self) -> bool:
        """Whether somebody would be texted who was not, as far as it is known."""
        return bool(self.risks) or self.stopped is not None


class Switched(NamedTuple):
    """A version that answers now."""

    target: Target
    compared: Comparison
    position: Position
    """Of the event that says so."""


class Approval(NamedTuple):
    """Who switches, and what they accept."""

    actor: str
    accepted: str | None = None
    """The id of a report."""


Told = Callable[[Target, Comparison], None]
"""Told what was found, before anything is refused or switched."""


async def switch(
    connection: Connection, target: Target, means: Means, approval: Approval, told: Told
) -> Switched:
    """Compare, and let the new version answer.

    Raises:
        RebuildBlocked: somebody would be texted who was not, or that cannot be told,
            and nobody has accepted just that.
        RebuildCancelled: one of the versions was dropped meanwhile.
        StoreUnavailable: it is not known to be done; safe to try again.
    """
    # A ledger whose first event this is must have its identity before it.
    await means.keyring.identity()
    for _ in range(_TRIES_MAX):
        compared = await compare(connection, target, means)
        told(target, compared)
        accepted = approval.accepted == compared.report_id
        if compared.is_to_be_accepted and not accepted:
            raise RebuildBlocked(f"{target.live.name}, {blocked_by(compared)}")
        with uncancelled():
            async with connection.transaction():
                if await _hold(connection, target, compared, means):
                    position = await _point(connection, target, compared, approval)
                    await forget(connection, target.live)
                    return Switched(target, compared, position)
    raise StoreUnavailable("whoever would be texted says something all the time")


async def go_back(
    connection: Connection, name: str, means: Means, approval: Approval, told: Told
) -> Switched:
    """Let the version before answer again.

    Raises:
        NotFound: there is none that is kept up to date.
        RebuildBlocked, RebuildCancelled, StoreUnavailable: as ``switch``.
    """
    with translated():
        serving = await serving_version(connection, name)
        found = await others(connection, name)
    if not found:
        raise NotFound(f"version {serving.version} of {name} is the only one")
    before = Target(found[0], serving, Position(0), 0, "compared")
    return await switch(connection, before, means, approval, told)


async def compare(connection: Connection, target: Target, means: Means) -> Comparison:
    """What the new version says otherwise, with both at one position.

    Or, where the one that serves has stopped, of whoever has said nothing since.

    Raises:
        RebuildCancelled: one of the versions was dropped meanwhile.
        RebuildStuck: one of them takes no more events.
        StoreUnavailable: they do not come to stand at one.
    """
    for _ in range(_TRIES_MAX):
        rung = means.doorbell.count
        with uncancelled():
            reason = await _bring_near(connection, target, means)
            async with connection.transaction(
                isolation="repeatable_read", readonly=True
            ):
                found = await _compare(connection, target, means, reason)
            if found is not None:
                return found
        await means.doorbell.wait_after(rung)
    raise StoreUnavailable("the two versions do not come to stand at one position")


async def _bring_near(
    connection: Connection, target: Target, means: Means
) -> str | None:
    """Have both apply what there is; why the one that serves has stopped, if it has."""
    serving = made(target.serving)
    reason: str | None = None
    try:
        with suppress(Overtaken), _told_stuck(target, (serving,)):
            await Worker((serving,), means).catch_up()
    except (StoreUnavailable, *GONE):
        raise
    except Exception:
        # Whoever keeps it up to date has met the same, and said so.
        version = (serving.name, serving.version)
        reason = await connection.fetchval(_READ_STOPPED, *version)
        if reason is None:
            raise
    both = (serving, target.projection)
    for versions in (both[1:], both) if reason is None else (both[1:],):
        # Whoever else does it at the same time is welcome.
        with suppress(Overtaken), _told_stuck(target, versions):
            await Worker(versions, means).catch_up()
    return reason


async def _compare(
    connection: Connection, target: Target, means: Means, reason: str | None
) -> Comparison | None:
    """Of one snapshot; None where the versions stand at different positions."""
    stand = await _positions(connection, target)
    before, position = stand[target.serving.version], stand[target.live.version]
    stopped = None
    if reason is not None:
        span = (before, position)
        numbers = await connection.fetchval(_COUNT_SUBJECTS, *span)
        stopped = Stopped(before, reason, numbers)
    elif before != position:
        return None
    name, serving, version = target.live.name, target.serving.version, target.live[1]
    changes = await target.projection.changes(
        connection, serving, EXAMPLES_MAX, until=before if stopped else None
    )
    alike = await have_applied_the_same(
        connection, means.keyring, name, serving, version
    )
    return Comparison(position, changes, alike, stopped)


@contextmanager
def _told_stuck(target: Target, versions: Sequence[Projection]) -> Iterator[None]:
    """What no waiting would change is said of the versions whose tables refuse."""
    try:
        yield
    except asyncpg.PostgresError as error:
        if is_passing(error) or isinstance(error, GONE):
            raise
        which = " and ".join(str(projection.version) for projection in versions)
        # Not its message, which may show a row.
        raise RebuildStuck(
            f"{target.live.name} version {which}: {type(error).__name__}"
        ) from error


def blocked_by(compared: Comparison) -> str:
    """Why a switch is refused, and what to do."""
    why = [f"{c.numbers} {c.was} to {c.becomes}" for c in compared.risks]
    if compared.stopped:
        position, _, numbers = compared.stopped
        why.append(
            f"the version that serves has stopped after {position}, and {numbers} that "
            "said something since cannot be compared"
        )
    return f"{', '.join(why)}: look at them, then --accept {compared.report_id}"


async def _hold(
    connection: Connection, target: Target, compared: Comparison, means: Means
) -> bool:
    """Hold both versions still, at one position; whether all risks were compared.

    And whether both have applied the same of what came since, with the stretch of
    positions that it is in. One that has stopped stays where it is; if it has gone on,
    nothing was compared.
    """
    versions = [target.serving.version, target.live.version]
    rows = await connection.fetch(_HOLD, target.live.name, versions)
    if len(rows) != _BOTH:
        raise RebuildCancelled("a version is gone, meanwhile")
    stand = {row[0]: Position(row[1]) for row in rows}
    if compared.stopped:
        return stand[target.serving.version] == compared.stopped.position
    last = max(stand.values())
    for projection in (made(target.serving), target.projection):
        position = stand[projection.version]
        if position < last:
            worker = Worker((projection,), means)
            batch = await worker.read(position, last - position, (projection,))
            await advance(connection, (projection,), batch)
    name, serving, version = target.live.name, target.serving.version, target.live[1]
    if compared.have_applied_the_same:
        since = max(1, compared.position)
        if await unlike_stretches(connection, name, serving, version, since=since):
            return False
    if last == compared.position:
        return True
    events = await means.store.read_after(compared.position, last - compared.position)
    subjects = {SubjectId(event.originator_id) for _, event in events}
    changes = await target.projection.changes(
        connection, serving, EXAMPLES_MAX, subjects
    )
    # What was accepted may be among them, and more: only a whole comparison can tell.
    return not any(change.is_risk for change in changes)


async def _point(
    connection: Connection, target: Target, compared: Comparison, approval: Approval
) -> Position:
    """Move the pointer, and say so in the ledger, in the caller's transaction."""
    name, version, _ = target.live
    await connection.execute(_POINT, name, version)
    # Another projection may switch at this moment, and say so in the same stream.
    await connection.execute(_LOCK_LEDGER)
    newest = await connection.fetchval(_READ_VERSION, THE_LEDGER)
    fields = {
        "projection": name,
        "from_version": target.serving.version,
        "to_version": version,
        "report_id": compared.report_id,
        "changes": [*map(_told, compared.changes), *_not_compared(compared)],
        "accepted": compared.is_to_be_accepted,
        "actor": approval.actor,
    }
    next_version = Version((newest or 0) + 1)
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


def _not_compared(compared: Comparison) -> Iterator[dict[str, object]]:
    if compared.stopped:
        position, _, numbers = compared.stopped
        yield {"not_compared_after": position, "numbers": numbers}


async def _positions(connection: Connection, target: Target) -> dict[int, Position]:
    """Where each version stands."""
    versions = [target.serving.version, target.live.version]
    rows = await connection.fetch(_READ_POSITIONS, target.live.name, versions)
    if len(rows) != _BOTH:
        raise RebuildCancelled("a version is gone, meanwhile")
    return {row[0]: Position(row[1]) for row in rows}
