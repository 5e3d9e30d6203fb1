"""Which versions of which projections there are, and which of them answers.

A version is a set of tables; a shape is which columns they have, and is what a release
knows how to fill. Never fills a table. The subtle part is a rolling deployment: a
release leaves alone what has a shape that it does not know, and another release, that
does, keeps that up to date.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from ledger.migrations import locked
from ledger.store.database import Connection, Pool, translated
from ledger.store.statements import statement
from projections.consent_history import ConsentHistory
from projections.messages import Messages
from projections.phone_numbers import PhoneNumbers
from projections.projection import Projection

_INSERT = statement("projections", "insert_projection")
_POINT = statement("projections", "point_first")
_READ_LIVE = statement("projections", "read_live")

Make = Callable[[int], Projection]

SHAPES: Final[dict[tuple[str, int], Make]] = {
    (made.name, made.shape): made for made in (PhoneNumbers, ConsentHistory, Messages)
}
"""How a version of each shape is made; of each name, the newest shape is the last."""

NAMES: Final = tuple(dict.fromkeys(name for name, _ in SHAPES))


class Live(NamedTuple):
    """A version that is kept up to date."""

    name: str
    version: int
    shape: int

    @property
    def is_known(self) -> bool:
        """Whether this release knows how to fill it."""
        return (self.name, self.shape) in SHAPES


def newest(name: str, version: int) -> Projection:
    """A version of a projection, in the shape that this release would give it."""
    return [make for (known, _), make in SHAPES.items() if known == name][-1](version)


async def create_first(connection: Connection) -> list[str]:
    """Make version 1 of projections that have none, and let it answer; their tables.

    Safe for several processes at once, as migrations are.
    """
    created = []
    with translated():
        async with locked(connection), connection.transaction():
            for first in (newest(name, 1) for name in NAMES):
                if await connection.fetchval(_INSERT, first.name, 1, first.shape):
                    await first.create(connection)
                    await first.create_indexes(connection)
                    await connection.execute(_POINT, first.name, 1)
                    created.append(f"{first.name}_v1")
    return created


async def read_live(pool: Pool) -> list[Live]:
    """The versions that are to be kept up to date, those of other shapes too."""
    with translated():
        return [Live(*row) for row in await pool.fetch(_READ_LIVE)]


def known(live: Iterable[Live]) -> Sequence[Projection]:
    """Those that this release knows how to fill."""
    return [
        SHAPES[version.name, version.shape](version.version)
        for version in live
        if version.is_known
    ]
