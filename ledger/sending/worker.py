"""Keeps settling while a web process runs: one process of all, at any time."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ledger.command_handler import CommandHandler
from ledger.leading import Leader, RunOnce
from ledger.sending.follower import Follower
from ledger.sending.sender import Sending
from ledger.sending.settling import Tools
from ledger.settings import Settings
from ledger.store.database import Pool
from ledger.store.event_store import EventStore
from ledger.store.keyring import Keyring


@asynccontextmanager
async def settling(  # noqa: PLR0913, PLR0917 - what it works with
    dsn: str,
    pool: Pool,
    handler: CommandHandler,
    store: EventStore,
    keyring: Keyring,
    sending: Sending,
    settings: Settings,
) -> AsyncIterator[None]:
    """Settles and cancels in the background meanwhile, unless a timer does it."""

    def begin() -> RunOnce:
        account, seconds_max = sending.account, settings.send_seconds_max
        tools = Tools(handler, store, keyring, account, seconds_max)
        return Follower(pool, tools, settle_seconds=settings.settle_seconds).run_once

    if not settings.settle_in_serve:
        yield
        return
    async with Leader(dsn, "sending", begin, poll_seconds=settings.poll_seconds):
        yield
