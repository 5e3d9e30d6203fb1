"""A rebuild step by step, in this process, and what there is afterwards."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Self

from builders import MASTERS

from ledger.store.database import Connection
from projections.check import Check
from projections.filling import Filling, fill_slices
from projections.likeness import Comparison
from projections.rebuild import Target, alone, begin, follow, frontier_now, index
from projections.rebuilding import Told, Work
from projections.registry import known, read_live
from projections.report import Report
from projections.switching import Approval, Switched, switch
from projections.worker import Means

NAMES = ("phone_numbers", "consent_history", "messages")
APPROVAL = Approval("test")


@dataclass
class Seen:
    """What was told of a rebuild."""

    filled: list[tuple[tuple[str, ...], int, int]] = field(default_factory=list)
    begun: list[tuple[str, str]] = field(default_factory=list)
    compared: list[Comparison] = field(default_factory=list)

    @property
    def told(self) -> Told:
        """What tells it."""
        return Told(
            lambda names, done, total: self.filled.append((tuple(names), done, total)),
            lambda name, phase: self.begun.append((name, phase)),
            self.told_compared,
        )

    def told_compared(self, _: Target, comparison: Comparison) -> None:
        """Keep a comparison."""
        self.compared.append(comparison)


class Steps:
    """One projection's rebuild. Use as ``async with``."""

    def __init__(self, dsn: str, means: Means, name: str = "phone_numbers") -> None:
        self._dsn, self.means, self._name = dsn, means, name
        self._stack = AsyncExitStack()
        self.seen = Seen()
        self.connection: Connection
        self.target: Target

    async def __aenter__(self) -> Self:
        """Begin, or go on."""
        alone_now = alone(self._dsn, self._name)
        self.connection = await self._stack.enter_async_context(alone_now)
        frontier = await frontier_now(self.connection)
        self.target = await begin(self.connection, self._name, frontier)
        return self

    async def __aexit__(self, *_: object) -> None:
        """End, as a process ends that was killed."""
        await self._stack.aclose()

    @property
    def filling(self) -> Filling:
        """What is to be filled."""
        live, _, frontier, slices, _ = self.target
        return Filling(self._dsn, self.means.settings, (live,), frontier, slices)

    async def fill(self) -> None:
        """All slices."""
        await fill_slices(self.filling, 0, 1)

    async def index(self) -> None:
        """The indexes."""
        await index(self.connection, self.target)

    async def follow(self) -> None:
        """The tail."""
        await follow(self.connection, self.target, self.means)

    async def switch(self, accepted: str | None = None) -> Switched:
        """The comparison and the switch."""
        approval = APPROVAL._replace(accepted=accepted)
        return await switch(
            self.connection,
            self.target,
            self.means,
            approval,
            self.seen.told_compared,
        )

    async def build(self) -> None:
        """All but the switch."""
        for step in (self.fill, self.index, self.follow):
            await step()


@asynccontextmanager
async def built(
    dsn: str, means: Means, name: str = "phone_numbers"
) -> AsyncIterator[Steps]:
    """A version that is ready to be compared."""
    async with Steps(dsn, means, name) as steps:
        await steps.build()
        yield steps


async def rebuilt(dsn: str, means: Means, name: str = "phone_numbers") -> Switched:
    """Another version that answers."""
    async with built(dsn, means, name) as steps:
        return await steps.switch()


def work_of(dsn: str, means: Means, seen: Seen, accepted: str | None = None) -> Work:
    """What ``rebuild`` takes."""
    return Work(dsn, means, 1, APPROVAL._replace(accepted=accepted), seen.told)


async def checked(means: Means) -> Report:
    """Every version that there is, held against the events."""
    check = Check(means.pool, MASTERS, known(await read_live(means.pool)))
    return await check.run(await check.begin())


async def relations(connection: Connection) -> Sequence[str]:
    """Every versioned table, index and function, by name."""
    rows = await connection.fetch(
        "SELECT relname::text FROM pg_class WHERE relname ~ '_v[0-9]+(_|$)' "
        "AND relkind IN ('r', 'i') "
        "UNION ALL SELECT proname::text FROM pg_proc WHERE proname ~ '_v[0-9]+_erase' "
        "ORDER BY 1"
    )
    return [row[0] for row in rows]


async def rows_of(connection: Connection) -> dict[str, list[tuple[object, ...]]]:
    """What says which versions there are."""
    tables = {
        "projections": "SELECT name, version FROM projections ORDER BY 1, 2",
        "pointers": "SELECT name, version FROM projection_pointers ORDER BY 1",
        "rebuilds": "SELECT name, version, phase FROM rebuilds ORDER BY 1",
        "slices": "SELECT name, slice FROM rebuilt_slices ORDER BY 1, 2",
    }
    return {
        name: [tuple(row) for row in await connection.fetch(read)]
        for name, read in tables.items()
    }
