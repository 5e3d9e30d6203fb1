"""Takes connections from a socket that several processes share, one at a time.

An event loop's own server takes all that wait, so whoever looks first may get every
connection of a proxy that opens many, and the others none for as long as those are
kept: seen with two processes, 64 to 0. Taking one a turn of the loop leaves the rest to
whoever is idle. Never reads what is sent: that is the protocol's.
"""

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Final

log = logging.getLogger(__name__)

_PAUSE_SECONDS: Final = 1.0
"""How long nothing is taken where the process can have no more files."""


class Acceptor:
    """Takes connections for as long as it is open."""

    def __init__(
        self, listener: socket.socket, protocol: Callable[[], asyncio.BaseProtocol]
    ) -> None:
        self._listener = listener
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._opening: set[asyncio.Task[object]] = set()
        self._pause: asyncio.TimerHandle | None = None
        listener.setblocking(False)
        self._start()

    async def close(self) -> None:
        """Take no more; what was taken is open on return."""
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._listener)
        self._listener.close()
        await asyncio.gather(*self._opening, return_exceptions=True)

    def _start(self) -> None:
        self._loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # Another process was faster, or the client has gone.
        except OSError as error:
            log.warning("cannot_accept", extra={"error": str(error)})
            self._loop.remove_reader(self._listener)
            self._pause = self._loop.call_later(_PAUSE_SECONDS, self._start)
            return
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opening = asyncio.ensure_future(
            self._loop.connect_accepted_socket(self._protocol, connection)
        )
        self._opening.add(opening)
        opening.add_done_callback(self._opening.discard)
