"""A whole rebuild, from empty tables to another version that answers.

The order of the phases that ``rebuild`` has; begun anew it goes on where it was. Never
knows a terminal: who calls is told how far it is.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Final, NamedTuple

from ledger.domain.ids import Position
from ledger.store.database import Connection, translated
from ledger.store.statements import statement
from projections.filling import Filling, fill
from projections.rebuild import (
    Comparison,
    Target,
    alone,
    begin,
    compare,
    follow,
    index,
    switch,
)
from projections.worker import Means

_READ_DONE = statement("projections", "read_filled_events")

PHASES: Final = ("filling", "indexing", "catching up", "compared")

Shown = Callable[[str, int, int], None]
"""Told of a phase, and how many events of how many are done in it."""


class Rebuilt(NamedTuple):
    """A version that answers now."""

    target: Target
    compared: Comparison
    position: Position
    """Of the event that says so."""


class Work(NamedTuple):
    """What a rebuild works with."""

    dsn: str
    means: Means
    processes: int
    actor: str
    accepted: str | None
    shown: Shown


async def rebuild(names: Sequence[str], work: Work) -> list[Rebuilt]:
    """Build the next version of each, and let it answer.

    Raises:
        RebuildRunning, RebuildBlocked, RebuildCancelled, NotFound: it is not done.
        UnknownEvent, KeyMissing, SealBroken: an event cannot be folded.
        StoreUnavailable: the database cannot be used now; what is done stays.
    """
    async with AsyncExitStack() as stack:
        targets: dict[Target, Connection] = {}
        for name in names:
            connection = await stack.enter_async_context(alone(work.dsn, name))
            targets[await begin(connection, name)] = connection
        await _fill(targets, work)
        return [await _finish(c, target, work) for target, c in targets.items()]


async def _fill(targets: Mapping[Target, Connection], work: Work) -> None:
    """Those that are at the same frontier are folded together."""
    by_frontier: defaultdict[Position, list[Target]] = defaultdict(list)
    for target in targets:
        if target.phase == "filling":
            by_frontier[target.frontier].append(target)
    for frontier, together in by_frontier.items():
        connection = targets[together[0]]
        names = [target.live.name for target in together]

        async def progress(
            connection: Connection = connection,
            names: list[str] = names,
            frontier: int = frontier,
        ) -> None:
            with translated():
                done = await connection.fetchval(_READ_DONE, names)
            work.shown("filling", done, frontier)

        live = tuple(target.live for target in together)
        filling = Filling(work.dsn, work.means.settings, live, frontier)
        await fill(filling, work.processes, progress)


async def _finish(connection: Connection, target: Target, work: Work) -> Rebuilt:
    """Indexes, tail, comparison, switch: of one projection."""
    begun = PHASES.index(target.phase)
    if begun <= PHASES.index("indexing"):
        work.shown("indexing", 0, 0)
        await index(connection, target)
    if begun <= PHASES.index("catching up"):
        work.shown("catching up", 0, 0)
        await follow(connection, target, work.means)
    work.shown("comparing", 0, 0)
    compared = await compare(connection, target, work.means)
    position = await switch(
        connection,
        target,
        compared,
        work.means,
        actor=work.actor,
        accepted=work.accepted,
    )
    return Rebuilt(target, compared, position)
