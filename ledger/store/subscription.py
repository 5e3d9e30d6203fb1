"""Waiting for news: a bell that NOTIFY rings and a clock that rings it anyway.

NOTIFY only wakes. What there is to do is always found out by reading, so a lost
notification costs at most one poll, and a dropped listening connection is opened again
in the background. Never carries data.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

import asyncpg

from ledger.errors import StoreUnavailable
from ledger.store.database import connect, translated

log = logging.getLogger(__name__)


class Doorbell:
    """Rings when ``channel`` is notified, and at least every ``poll_seconds``.

    ``also`` has other channels, and what to call when one of them is notified.
    """

    def __init__(
        self,
        dsn: str,
        channel: str,
        *,
        poll_seconds: float,
        also: Mapping[str, Callable[[], None]] | None = None,
    ) -> None:
        self._dsn = dsn
        self._channel = channel
        self._poll_seconds = poll_seconds
        self._also = also or {}
        self._waiting: set[asyncio.Future[None]] = set()
        self._count = 0
        self._task: asyncio.Task[None] | None = None
        self.listening = asyncio.Event()
        """Set while notifications are being heard."""

    async def __aenter__(self) -> Self:
        """Start listening; does not wait until the database can be reached."""
        self._task = asyncio.create_task(self._listen(), name=f"listen {self._channel}")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop listening. May be called twice."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    @property
    def count(self) -> int:
        """How often it has rung; take it before reading, and wait for the next."""
        return self._count

    async def wait_after(self, count: int) -> None:
        """Return once it has rung since ``count``, or after ``poll_seconds``."""
        if self._count != count:
            return
        rung = asyncio.get_running_loop().create_future()
        self._waiting.add(rung)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._poll_seconds):
                    await rung
        finally:
            self._waiting.discard(rung)

    def ring(self) -> None:
        """Wake everyone who waits."""
        self._count += 1
        for rung in self._waiting:
            if not rung.done():
                rung.set_result(None)

    async def _listen(self) -> None:
        while True:
            try:
                with translated():
                    await self._listen_once()
            except (StoreUnavailable, asyncpg.PostgresError) as error:
                # A refusal too (a changed password, say): meanwhile it is polled.
                log.warning("not_listening", extra={"error": str(error)})
            self.listening.clear()
            await asyncio.sleep(self._poll_seconds)

    async def _listen_once(self) -> None:
        closed = asyncio.Event()
        connection = await connect(self._dsn, application="consent-ledger listen")
        try:
            connection.add_termination_listener(lambda _: closed.set())
            await connection.add_listener(self._channel, lambda *_: self.ring())
            for channel, heard in self._also.items():
                await connection.add_listener(channel, _calling(heard))
            self.listening.set()
            # Something may have been notified before we listened.
            self.ring()
            for heard in self._also.values():
                heard()
            await closed.wait()
        finally:
            with contextlib.suppress(asyncpg.InterfaceError, OSError):
                connection.terminate()


def _calling(heard: Callable[[], None]) -> Callable[..., None]:
    """A listener, without what PostgreSQL tells it."""
    return lambda *_: heard()
