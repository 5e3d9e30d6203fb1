"""Answers without an end of their own, or with a far one: how many, and how they end.

Knows nothing of what is written. The subtle part is the end: a stop of the service,
like a client that does not read, ends an answer in the middle of whatever it waits for,
and nobody may take a part of an answer for the whole.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from aiohttp import hdrs, web

from ledger.api.formats import EVENT_STREAM
from ledger.errors import TryAgain
from ledger.settings import Settings

HEARTBEAT_SECONDS: Final = 15.0
"""How long a stream is silent before it says that it is alive; proxies hang up."""

WRITE_SECONDS_MAX: Final = 60.0
"""How long a client may take to read what was written before its stream ends."""

EVENT_STREAM_HEADERS: Final = {
    hdrs.CONTENT_TYPE: EVENT_STREAM,
    hdrs.CACHE_CONTROL: "no-store",
    hdrs.VARY: hdrs.ACCEPT,
    "X-Accel-Buffering": "no",  # nginx would keep events back
}
_RETRY_SECONDS: Final = 5


class Streams:
    """The long answers of one process."""

    def __init__(self, settings: Settings) -> None:
        self._streams_max = settings.streams_max
        self._open: set[asyncio.Timeout] = set()
        self._stopping = False

    async def stop(self, _: web.Application) -> None:
        """End every one now; a client comes back and says where it was."""
        self._stopping = True
        now = asyncio.get_running_loop().time()
        while self._open:
            self._open.pop().reschedule(now)

    @asynccontextmanager
    async def one(self, request: web.Request) -> AsyncIterator[None]:
        """Write an answer in this context, which a stop leaves without an error.

        A client that has gone is told nothing, and so it is left in silence too.

        Raises:
            TryAgain: as many as may be are open, or the service stops.
        """
        if self._stopping or len(self._open) >= self._streams_max:
            raise TryAgain(
                f"{len(self._open)} streams are open in this process",
                retry_after_seconds=_RETRY_SECONDS,
            )
        with suppress(ConnectionResetError, TimeoutError):
            async with asyncio.timeout(None) as ending:
                self._open.add(ending)
                try:
                    yield
                finally:
                    self._open.discard(ending)
        _forget_unread(request)


async def write(response: web.StreamResponse, data: bytes) -> None:
    """Write, and wait until the client has room for more.

    Raises:
        TimeoutError: the client has not read for a minute.
        ConnectionResetError: the client has gone.
    """
    async with asyncio.timeout(WRITE_SECONDS_MAX):
        await response.write(data)


def cut(request: web.Request) -> None:
    """Close the connection in the middle of an answer, so that all see that it broke.

    Without the last chunk HTTP/1.1 knows that something is missing; an answer that ends
    well, with less in it, would pass as whole.
    """
    if request.transport:
        request.transport.close()


def is_gone(request: web.Request) -> bool:
    """Whether the client has hung up."""
    return request.transport is None or request.transport.is_closing()


def _forget_unread(request: web.Request) -> None:
    """Let nobody wait for a client that does not read."""
    transport = request.transport
    if transport and transport.get_write_buffer_size():
        transport.abort()
