"""A whole rebuild, from empty tables to another version that answers.

The order of the phases that ``rebuild`` has; begun anew it goes on where it was. Never
knows a terminal: who calls is told how far it is. One projection that may not switch
does not keep another from it.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from typing import Final, NamedTuple

from ledger.domain.ids import Position
from ledger.errors import PositionMissing, RebuildBlocked, StoreUnavailable
from ledger.store.database import Connection, translated
from ledger.store.scan import missing_positions, position_ranges
from ledger.store.statements import statement
from projections.filling import Filling, fill
from projections.likeness import Comparison
from projections.rebuild import Target, alone, begin, follow, frontier_now, index
from projections.switching import Approval, Switched, switch
from projections.worker import Means

_READ_DONE = statement("projections", "read_filled_events")

PHASES: Final = ("filling", "indexing", "catching up", "compared")


class Told(NamedTuple):
    """How a rebuild says how far it is."""

    filled: Callable[[Sequence[str], int, int], None]
    """Which projections are filled together, and how many events of how many."""
    begun: Callable[[str, str], None]
    """Which projection goes into which other phase."""
    compared: Callable[[Target, Comparison], None]


class Work(NamedTuple):
    """What a rebuild works with."""

    dsn: str
    means: Means
    processes: int
    approval: Approval
    told: Told


async def rebuild(names: Sequence[str], work: Work) -> list[Switched]:
    """Build the next version of each, and let it answer.

    Raises:
        RebuildRunning, RebuildBlocked, RebuildCancelled, NotFound: it is not done; of
            several, those that are not blocked are.
        UnknownEvent, KeyMissing, SealBroken: an event cannot be folded.
        PositionMissing: the ledger has lost one.
        StoreUnavailable: the database cannot be used now; what is done stays.
    """
    async with AsyncExitStack() as stack:
        stack.enter_context(_resumable())
        connections = {
            name: await stack.enter_async_context(alone(work.dsn, name))
            for name in names
        }
        # The same for all that begin now, so that their events are folded once.
        frontier = await frontier_now(connections[names[0]])
        targets = {
            await begin(connection, name, frontier): connection
            for name, connection in connections.items()
        }
        await _fill(targets, work)
        return await _finish_all(targets, work)


@contextmanager
def _resumable() -> Iterator[None]:
    try:
        yield
    except StoreUnavailable as error:
        raise StoreUnavailable(f"{error}; run it again, and it goes on") from error


async def _fill(targets: Mapping[Target, Connection], work: Work) -> None:
    """Those that are at the same frontier are folded together."""
    together: defaultdict[tuple[int, int], list[Target]] = defaultdict(list)
    for target in targets:
        if target.phase == "filling":
            together[target.frontier, target.slices].append(target)
    for (frontier, slices), of_both in together.items():
        connection = targets[of_both[0]]
        live = tuple(target.live for target in of_both)
        names = [name for name, *_ in live]

        async def progress(
            connection: Connection = connection,
            names: list[str] = names,
            frontier: int = frontier,
        ) -> None:
            with translated():
                done = await connection.fetchval(_READ_DONE, names)
            work.told.filled(names, done, frontier)

        filling = Filling(
            work.dsn, work.means.settings, live, Position(frontier), slices
        )
        await fill(filling, work.processes, progress)
        with translated():
            await _check_whole(connection, names, Position(frontier))


async def _check_whole(
    connection: Connection, names: Sequence[str], frontier: Position
) -> None:
    """See that every event was folded: to switch would hide that one is gone.

    Raises:
        PositionMissing: the ledger has lost an event.
    """
    if await connection.fetchval(_READ_DONE, names) == frontier:
        return
    for first, last in position_ranges(frontier):
        _, missing = await missing_positions(connection, first, last, 1)
        for position in missing:
            raise PositionMissing(f"position {position} is missing")


async def _finish_all(
    targets: Mapping[Target, Connection], work: Work
) -> list[Switched]:
    """Side by side, each to its own end: one alone would leave a core idle."""
    rest = [_finish(held, target, work) for target, held in targets.items()]
    ended = await asyncio.gather(*rest, return_exceptions=True)
    failed = [one for one in ended if isinstance(one, BaseException)]
    blocked = [one for one in failed if isinstance(one, RebuildBlocked)]
    # A refusal is told last: it may wait for an operator, and what is broken may not.
    for error in failed:
        if error not in blocked:
            raise error
    if blocked:
        raise RebuildBlocked("; ".join(map(str, blocked)))
    return [one for one in ended if not isinstance(one, BaseException)]


async def _finish(connection: Connection, target: Target, work: Work) -> Switched:
    """Indexes, tail, comparison, switch: of one projection."""
    name, begun = target.live.name, PHASES.index(target.phase)
    if begun <= PHASES.index("indexing"):
        work.told.begun(name, "indexing")
        await index(connection, target)
    if begun <= PHASES.index("catching up"):
        work.told.begun(name, "catching up")
        await follow(connection, target, work.means)
    work.told.begun(name, "comparing")
    return await switch(
        connection, target, work.means, work.approval, work.told.compared
    )
