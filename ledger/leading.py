"""Keeps a piece of work going while web processes run: in one of all, at any time.

Which one is decided by a lock in the database that its connection holds, so that the
next takes over where it dies. Never stops for an error: what cannot be done now is
done later, ever more slowly. The subtle part is that a connection may be lost unseen
while the work goes on here, so the work must bear to be done twice for a moment.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Final, Self

import asyncpg

from ledger.errors import TryAgain
from ledger.store.database import Connection, connect, translated
from ledger.store.statements import statement

log = logging.getLogger(__name__)

_LOCK: Final = statement("ledger", "lock_work")
_PAUSE_SECONDS_MAX: Final = 60.0
_TURN_SECONDS: Final = 10.0
"""How often a process looks whether the one that leads is gone."""

RunOnce = Callable[[], Awaitable[object]]
"""Does what there is to do now."""


class Leader:
    """Does one work in the background. Use as ``async with``.

    ``begin`` is called each time that this process becomes the one that leads, and
    what it returns again and again until it is no more.
    """

    def __init__(
        self, dsn: str, work: str, begin: Callable[[], RunOnce], *, poll_seconds: float
    ) -> None:
        self._dsn = dsn
        self._name = f"consent-ledger {work}"
        self._work = work
        self._begin = begin
        self._poll_seconds = poll_seconds
        self._pause_seconds = poll_seconds
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Start; does not wait until the database, or anyone else, can be reached."""
        self._task = asyncio.create_task(self._run(), name=self._work)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop; what was begun is seen to by whoever starts next."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            try:
                await self._lead()
                seconds = _TURN_SECONDS
            except TryAgain as error:
                fields = {"work": self._work, "error": str(error)}
                log.warning("background_waits", extra=fields)
                seconds = self._next_pause()
            except Exception:
                # An event of a newer release, say: what is done later is done.
                log.exception("background_failed", extra={"work": self._work})
                seconds = self._next_pause()
            await asyncio.sleep(seconds)

    def _next_pause(self) -> float:
        """Twice as long each time, until something goes well again."""
        seconds = self._pause_seconds
        self._pause_seconds = min(2 * seconds, _PAUSE_SECONDS_MAX)
        return seconds

    async def _lead(self) -> None:
        """Work for as long as the lock is ours; return where it is another's."""
        connection = await connect(self._dsn, application=self._name)
        try:
            with translated():
                is_ours = await connection.fetchval(_LOCK, self._name)
            if is_ours:
                await self._keep_working(connection)
        finally:
            with contextlib.suppress(asyncpg.InterfaceError, OSError):
                connection.terminate()

    async def _keep_working(self, lock: Connection) -> None:
        run_once = self._begin()
        while not lock.is_closed():
            await run_once()
            self._pause_seconds = self._poll_seconds
            # Not woken by NOTIFY, which comes with every batch of texts.
            await asyncio.sleep(self._poll_seconds)
