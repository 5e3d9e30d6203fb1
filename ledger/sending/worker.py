"""Keeps settling while a web process runs: one process of all, at any time.

Which one is decided by a lock in the database that its connection holds, so that the
next takes over where it dies. Never stops for an error: what cannot be done now is
done later, ever more slowly.
"""

import asyncio
import contextlib
import logging
from types import TracebackType
from typing import Final, Self

import asyncpg

from ledger.command_handler import CommandHandler
from ledger.errors import StoreUnavailable, TwilioUnavailable
from ledger.sending.follower import Follower
from ledger.sending.sender import Sending
from ledger.sending.settling import Tools
from ledger.settings import Settings
from ledger.store.database import Connection, Pool, connect, translated
from ledger.store.event_store import EventStore
from ledger.store.keyring import Keyring
from ledger.store.statements import statement

log = logging.getLogger(__name__)

_LOCK: Final = statement("ledger.sending", "lock_sending")
_PAUSE_SECONDS_MAX: Final = 60.0
_TURN_SECONDS: Final = 10.0
"""How often a process looks whether the one that settles is gone."""


class SendingWorker:
    """Settles and cancels in the background. Use as ``async with``."""

    def __init__(  # noqa: PLR0913, PLR0917 - what it works with
        self,
        dsn: str,
        pool: Pool,
        handler: CommandHandler,
        store: EventStore,
        keyring: Keyring,
        sending: Sending,
        settings: Settings,
    ) -> None:
        self._dsn = dsn
        self._pool = pool
        self._handler = handler
        self._store = store
        self._keyring = keyring
        self._sending = sending
        self._settings = settings
        self._task: asyncio.Task[None] | None = None
        self._pause_seconds = settings.poll_seconds

    async def __aenter__(self) -> Self:
        """Start; does not wait until the database or Twilio can be reached."""
        self._task = asyncio.create_task(self._run(), name="sending")
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
            except (StoreUnavailable, TwilioUnavailable) as error:
                log.warning("sending_waits", extra={"error": str(error)})
                seconds = self._next_pause()
            except Exception:
                # An event of a newer release, say: what is settled later is settled.
                log.exception("sending_failed")
                seconds = self._next_pause()
            await asyncio.sleep(seconds)

    def _next_pause(self) -> float:
        """Twice as long each time, until something goes well again."""
        seconds = self._pause_seconds
        self._pause_seconds = min(2 * seconds, _PAUSE_SECONDS_MAX)
        return seconds

    async def _lead(self) -> None:
        """Settle for as long as the lock is ours; return where it is another's."""
        connection = await connect(self._dsn, application="consent-ledger sending")
        try:
            with translated():
                is_ours = await connection.fetchval(_LOCK)
            if is_ours:
                await self._settle(connection)
        finally:
            with contextlib.suppress(asyncpg.InterfaceError, OSError):
                connection.terminate()

    async def _settle(self, lock: Connection) -> None:
        follower = Follower(
            self._pool,
            tools_of(
                self._handler, self._store, self._keyring, self._sending, self._settings
            ),
            settle_seconds=self._settings.settle_seconds,
        )
        while not lock.is_closed():
            await follower.run_once()
            self._pause_seconds = self._settings.poll_seconds
            # Not woken by NOTIFY, which comes with every batch of texts.
            await asyncio.sleep(self._settings.poll_seconds)


def tools_of(
    handler: CommandHandler,
    store: EventStore,
    keyring: Keyring,
    sending: Sending,
    settings: Settings,
) -> Tools:
    """What settling works with."""
    return Tools(handler, store, keyring, sending.account, settings.send_seconds_max)
