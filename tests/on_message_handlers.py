"""Handlers of texts as somebody might write them, good and bad."""

import asyncio
import threading
from collections.abc import Awaitable
from typing import Final

from ledger.webhook.on_message import InboundMessage

received: Final[list[InboundMessage]] = []
release: Final = threading.Event()
"""Lets those go that wait for it."""

NOT_A_FUNCTION: Final = "on_message"


def echo(message: InboundMessage) -> str | None:
    """Reply with what was texted."""
    received.append(message)
    return f"<{message.body}> & \x00"


async def echo_async(message: InboundMessage) -> str | None:
    """The same, without a thread."""
    await asyncio.sleep(0)
    return echo(message)


def quiet(message: InboundMessage) -> None:
    """Reply nothing."""
    received.append(message)


def failing(message: InboundMessage) -> str | None:
    """Fail."""
    raise RuntimeError(message.sid)


def leaving(_: InboundMessage) -> str | None:
    """End, one might think, the process."""
    raise SystemExit(1)


def hanging(_: InboundMessage) -> str | None:
    """Take as long as the test wants."""
    release.wait(1)
    return "too late"


async def hanging_async(_: InboundMessage) -> str | None:
    """Never come back by itself, and not like to be cancelled."""
    while not release.is_set():
        try:
            await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            await asyncio.to_thread(release.wait, 1)
    return "too late"


def number(_: InboundMessage) -> object:
    """Reply with what is no text."""
    return 7


def long(_: InboundMessage) -> str:
    """Reply with more than Twilio sends."""
    return "x" * 1_601


def confused(message: InboundMessage) -> Awaitable[str | None]:
    """A plain function that returns a coroutine."""
    return echo_async(message)
