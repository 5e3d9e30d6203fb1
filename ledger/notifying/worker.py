"""Keeps telling of changes while a web process runs: in one of all, for each channel.

Channels do not wait for each other: a mail server that is down holds back no document.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from ledger.leading import Leader
from ledger.notifying.channel import Channel
from ledger.notifying.email import EmailChannel
from ledger.notifying.follower import Follower
from ledger.notifying.url import UrlChannel
from ledger.setting_values import mail_server
from ledger.settings import Settings
from ledger.store.database import Pool
from ledger.store.event_store import EventStore
from ledger.store.keyring import Keyring


def channels(settings: Settings) -> list[Channel]:
    """The channels that are set; none is the default."""
    seconds = settings.notify_seconds_max
    found: list[Channel] = []
    if settings.notify_url:
        secrets = [secret.get_secret_value() for secret in settings.notify_secrets]
        url = UrlChannel(settings.notify_url, secrets, timeout_seconds=seconds)
        found.append(url)
    if settings.notify_email and settings.smtp_url:
        email = EmailChannel(
            mail_server(settings.smtp_url.get_secret_value()),
            from_address=settings.notify_email_from or settings.notify_email[0],
            to=settings.notify_email,
            timeout_seconds=seconds,
        )
        found.append(email)
    return found


@asynccontextmanager
async def notifying(
    dsn: str, pool: Pool, store: EventStore, keyring: Keyring, settings: Settings
) -> AsyncIterator[None]:
    """Each channel that is set is told of changes in the background meanwhile."""
    async with AsyncExitStack() as stack:
        for channel in channels(settings):
            await stack.enter_async_context(channel)
            follower = Follower(pool, store, keyring, channel)
            leader = _leader(dsn, channel, follower, settings)
            await stack.enter_async_context(leader)
        yield


def _leader(
    dsn: str, channel: Channel, follower: Follower, settings: Settings
) -> Leader:
    # It has no state but its checkpoint, so that each turn may go on with the same.
    work = f"notices {channel.name}"
    seconds = settings.poll_seconds
    return Leader(dsn, work, lambda: follower.run_once, poll_seconds=seconds)
