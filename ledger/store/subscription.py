"""Waiting for news: a bell that NOTIFY rings and a clock that rings it anyway.

NOTIFY only wakes. What there is to do is always found out by reading, so a lost
notification costs at most one poll, and a dropped listening connection is opened again
in the background. Never carries data.
"""

import asyncio
import contextlib
from types import TracebackType
from typing import Self

import asyncpg

from ledger.errors import StoreUnavailable
from ledger.store.database import connect, translated


class Doorbell:
    """Rings when ``channel`` is notified, and at least every ``poll_seconds``."""

    def __init__(self, dsn: str, channel: str, *, poll_seconds: float) -> None:
        self._dsn = dsn
        self._channel = channel
        self._poll_seconds = poll_seconds
        self._rung = asyncio.Condition()
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
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._poll_seconds), self._rung:
                await self._rung.wait_for(lambda: self._count != count)

    async def ring(self) -> None:
        """Wake everyone who waits."""
        async with self._rung:
            self._count += 1
            self._rung.notify_all()

    async def _listen(self) -> None:
        while True:
            with contextlib.suppress(StoreUnavailable), translated():
                await self._listen_once()
            self.listening.clear()
            await asyncio.sleep(self._poll_seconds)

    async def _listen_once(self) -> None:
        closed = asyncio.Event()
        rings: set[asyncio.Task[None]] = set()

        def on_notify(*_: object) -> None:
            task = asyncio.create_task(self.ring())
            rings.add(task)
            task.add_done_callback(rings.discard)

        connection = await connect(self._dsn, application="consent-ledger listen")
        try:
            connection.add_termination_listener(lambda _: closed.set())
            await connection.add_listener(self._channel, on_notify)
            self.listening.set()
            # Something may have been appended before we listened.
            await self.ring()
            await closed.wait()
        finally:
            with contextlib.suppress(asyncpg.InterfaceError, OSError):
                connection.terminate()
