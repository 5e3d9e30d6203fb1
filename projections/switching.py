"""Lets another version of a projection answer, once the two have been compared.

Forward to a version that was built, and back to the one before: both are held to the
same rule, that nobody is texted who was not, unless somebody accepts just that. Never
fills a table beyond the few events that one version lacks of the other.

The subtle part is the switch. Both versions are held still, by the row locks that every
worker takes first; what one lacks of the other is applied; of whom something came since
they were compared is compared again, and all of it where that shows a risk; and the
pointer moves with an event in the ledger that says what changed and who accepted it.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from ledger.domain.events import ProjectionSwitched
from ledger.domain.ids import THE_LEDGER, Position, SubjectId, Version
from ledger.errors import (
    NotFound,
    RebuildBlocked,
    RebuildCancelled,
    StoreUnavailable,
)
from ledger.store.codec import encode_open
from ledger.store.database import Connection, translated
from ledger.store.event_store import Appended
from ledger.store.postgres import append_with
from ledger.store.statements import statement
from projections.likeness import (
    BOTH,
    EXAMPLES_MAX,
    TRIES_MAX,
    Comparison,
    blocked_by,
    compare,
)
from projections.projection import Change, advance
from projections.proof import unlike_stretches
from projections.rebuild import (
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
        RebuildStuck: one of them takes no more events, or the new one cannot be read.
        StoreUnavailable: it is not known to be done; safe to try again.
    """
    # A ledger whose first event this is must have its identity before it.
    await means.keyring.identity()
    for _ in range(TRIES_MAX):
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
        RebuildBlocked, RebuildCancelled, RebuildStuck, StoreUnavailable: as
            ``switch``.
    """
    with translated():
        serving = await serving_version(connection, name)
        found = await others(connection, name)
    if not found:
        raise NotFound(f"version {serving.version} of {name} is the only one")
    before = Target(found[0], serving, Position(0), 0, "compared")
    return await switch(connection, before, means, approval, told)


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
    if len(rows) != BOTH:
        raise RebuildCancelled("a version is gone, meanwhile")
    stand = {row[0]: Position(row[1]) for row in rows}
    if stopped := compared.stopped:
        has_gone_on = stand[target.serving.version] != stopped.position
        return not (stopped.is_readable and has_gone_on)
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
    if stopped := compared.stopped:
        yield {"not_compared_after": stopped.position, "numbers": stopped.numbers}
