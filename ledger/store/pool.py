"""A pool whose connections are at hand for the next statement.

asyncpg's own pool gives a connection out and takes it back with a task, timers and a
proxy object each time: up to 0.1 ms of CPU, more than many a statement of ours costs.
Here a connection that has just done a statement is kept for the next one. Never shares
one between two statements at once, and never keeps one that has failed.
"""

from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import asyncpg

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from asyncpg.pool import PoolAcquireContext, PoolConnectionProxy

    _Raw = asyncpg.Pool[asyncpg.Record]
    _Proxy = PoolConnectionProxy[asyncpg.Record]

Result = TypeVar("Result")


class Pool:
    """asyncpg's pool, for statements of one round trip each. Use as ``async with``."""

    def __init__(self, raw: "_Raw", *, kept_max: int) -> None:
        self._raw = raw
        self._kept_max = kept_max
        self._kept: list[_Proxy] = []

    async def __aenter__(self) -> Self:
        """Open it."""
        await self._raw.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Wait for what is being done, and close every connection."""
        self._kept_max = 0
        await self._give_back()
        await self._raw.__aexit__(kind, error, trace)

    async def fetch(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        """Every row."""
        return await self._do(lambda c: c.fetch(statement, *arguments))

    async def fetchrow(
        self, statement: str, *arguments: object
    ) -> asyncpg.Record | None:
        """The first row, if there is one."""
        return await self._do(lambda c: c.fetchrow(statement, *arguments))

    async def fetchval(self, statement: str, *arguments: object) -> Any:  # noqa: ANN401
        """The first column of the first row, or None."""
        return await self._do(lambda c: c.fetchval(statement, *arguments))

    async def execute(self, statement: str, *arguments: object) -> str:
        """Do it; the command's tag."""
        return await self._do(lambda c: c.execute(statement, *arguments))

    def acquire(self) -> "PoolAcquireContext[asyncpg.Record]":
        """A connection for more than one statement; use as ``async with``."""
        return self._raw.acquire()

    async def expire_connections(self) -> None:
        """Use none of the connections that there are any more."""
        await self._raw.expire_connections()
        await self._give_back()

    async def _do(self, work: "Callable[[_Proxy], Awaitable[Result]]") -> Result:
        connection = self._kept.pop() if self._kept else await self._raw.acquire()
        is_good = False
        try:
            result = await work(connection)
            is_good = not connection.is_closed()
        finally:
            if is_good and len(self._kept) < self._kept_max:
                self._kept.append(connection)
            else:
                await self._raw.release(connection)
        return result

    async def _give_back(self) -> None:
        while self._kept:
            # To one that the server has closed this very moment there is no goodbye; it
            # is gone all the same, and others are opened in its place.
            with suppress(asyncpg.PostgresError, asyncpg.InternalClientError, OSError):
                await self._raw.release(self._kept.pop())
