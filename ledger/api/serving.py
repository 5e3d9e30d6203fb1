"""Which version of each projection answers, and reading from it.

A row points at the version that serves. What it says is remembered, and read again when
a notification says that it has changed, and now and then in any case. Never changes it.
The subtle part is a reader that remembers the version of a moment ago: that one is kept
up to date until an operator drops it, so its answers are right; and should it be gone,
the pointer is read again and the same question asked of the next.
"""

import time
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import asyncpg

from ledger.errors import NotServed
from ledger.store.database import Connection, Pool, translated
from ledger.store.statements import TABLES, at_versions, statement

_READ_SERVING = statement("ledger.api", "read_serving")

SHAPES: Final = frozenset(
    (("phone_numbers", 1), ("consent_history", 1), ("messages", 1))
)
"""The columns that this release's statements know, by projection."""

REMEMBERED_SECONDS: Final = 5.0
"""How long a lost notification goes unnoticed."""


class Version(NamedTuple):
    """A version of a projection."""

    name: str
    version: int
    shape: int
    serves: bool


class Serving:
    """Statements over the tables of the versions that answer."""

    def __init__(self, pool: Pool | Connection) -> None:
        self._pool = pool
        self._versions: tuple[tuple[str, int], ...] = ()
        self._shapes: dict[str, int] = {}
        self._until = 0.0
        self._forgotten = 0

    def forget(self) -> None:
        """The pointer may have changed: read it before the next answer."""
        self._until = 0.0
        self._forgotten += 1

    async def versions(self) -> tuple[tuple[str, int], ...]:
        """The version of each projection from which to answer.

        Where the one that serves has a shape that this release does not know, the
        newest of those that it knows: in a rolling deployment both are kept up to date.

        Raises:
            NotServed: there is none.
            StoreUnavailable: the database cannot be read now.
        """
        if time.monotonic() >= self._until:
            forgotten = self._forgotten
            with translated():
                rows = await self._pool.fetch(_READ_SERVING)
            chosen = _chosen([Version(*row) for row in rows])
            self._versions = tuple((one.name, one.version) for one in chosen)
            self._shapes = {one.name: one.shape for one in chosen}
            # What was read before a switch is not what it says after that.
            if forgotten == self._forgotten:
                self._until = time.monotonic() + REMEMBERED_SECONDS
        return self._versions

    async def version_of(self, name: str) -> int:
        """The version of one projection from which to answer; see ``versions``."""
        return dict(await self.versions())[name]

    async def shape_of(self, name: str) -> int:
        """The shape of that version: which of several statements is for it.

        Raises:
            NotServed, StoreUnavailable: as ``versions``.
        """
        await self.versions()
        return self._shapes[name]

    async def fetch(self, text: str, *arguments: object) -> list[asyncpg.Record]:
        """Every row of a statement that is written for version 1.

        Raises:
            NotServed, StoreUnavailable: as ``versions``.
        """
        try:
            return await self._fetch(text, arguments)
        except asyncpg.UndefinedTableError:
            self.forget()
            return await self._fetch(text, arguments)

    async def fetchval(self, text: str, *arguments: object) -> Any:  # noqa: ANN401
        """The first column of the first row; see ``fetch``."""
        rows = await self.fetch(text, *arguments)
        return rows[0][0] if rows else None

    async def _fetch(
        self, text: str, arguments: Sequence[object]
    ) -> list[asyncpg.Record]:
        of_versions = at_versions(text, await self.versions())
        return await self._pool.fetch(of_versions, *arguments)


def _chosen(found: list[Version]) -> list[Version]:
    chosen = []
    for name in dict.fromkeys(TABLES.values()):
        known = [v for v in found if v.name == name and (name, v.shape) in SHAPES]
        if not known:
            raise NotServed(f"{name} has no version that this release can read")
        chosen.append(max(known, key=lambda one: (one.serves, one.version)))
    return chosen
