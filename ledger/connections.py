"""Connections: everyday requests are answered here, any other is aiohttp's.

Each connection is ours at first. A request that somebody takes (``everyday``) is
answered without aiohttp's tasks and objects, which cost more than all that we do for a
text. At the first that nobody takes, the connection is handed to aiohttp with every
byte that came and was not answered, and stays there. Never has two requests of one
connection in work: what comes early waits. The subtle part is the end of the process:
what was taken is answered, as aiohttp does for what is its own, and then closed.
"""

import asyncio
import socket
import time
from collections.abc import Sequence
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Final, cast

from aiohttp import web
from aiohttp.http import SERVER_SOFTWARE

from ledger.accepting import Acceptor
from ledger.api.problems import explain, record, request_id_of
from ledger.everyday import EVERYDAY, Answer, Everyday, Plain, Route, read

_SWEEPS: Final = 15
"""How often idle connections are looked for in the time that they may be idle."""
_EARLY_BYTES_MAX: Final = 65_536
_ARRIVING_SECONDS_MAX: Final = 2.0
"""How long the end waits for the rest of a request that has begun to come."""
_STATUS_LINES: Final = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode()
    for status in HTTPStatus
}


class Runner(web.AppRunner):
    """Runs an application behind ``Connections``.

    Takes its connections from ``listeners`` itself, besides what sites it is given.
    """

    def __init__(
        self,
        app: web.Application,
        *,
        shutdown_timeout: float = 60.0,
        keepalive_timeout: float = 75.0,
        listeners: Sequence[socket.socket] = (),
        **more: Any,  # noqa: ANN401 - aiohttp's
    ) -> None:
        super().__init__(
            app,
            shutdown_timeout=shutdown_timeout,
            keepalive_timeout=keepalive_timeout,
            **more,
        )
        self._stop_seconds_max = shutdown_timeout
        self._idle_seconds_max = keepalive_timeout
        self._listeners = listeners
        self._acceptors: list[Acceptor] = []
        self._connections: Connections | None = None

    @property
    def server(self) -> Any:  # noqa: ANN401 - aiohttp says web.Server, and calls it
        """Makes the protocol of each connection."""
        return self._connections

    async def setup(self) -> None:
        """Start the application."""
        await super().setup()
        server = super().server
        if server is None:
            raise RuntimeError("aiohttp has made no server")
        self._connections = Connections(
            server, self.app[EVERYDAY], idle_seconds_max=self._idle_seconds_max
        )

        self._acceptors = [Acceptor(s, self._connections) for s in self._listeners]

    async def cleanup(self) -> None:
        """Take no new connection, answer what was asked, and stop."""
        while self._acceptors:
            await self._acceptors.pop().close()
        await super().cleanup()

    async def shutdown(self) -> None:
        """Answer what was taken; no new connection comes any more."""
        if self._connections is not None:
            drained = self._connections.drain(self._stop_seconds_max)
            await asyncio.gather(drained, super().shutdown())


class Connections:
    """Those that are ours, and what they have in common."""

    def __init__(
        self, server: web.Server, everyday: Everyday, *, idle_seconds_max: float
    ) -> None:
        self._server = server
        self._idle_seconds_max = idle_seconds_max
        self._routes = {(route.method, route.path): route for route in everyday.routes}
        self.body_bytes_max = everyday.body_bytes_max
        self._open: set[Connection] = set()
        self._taken = 0
        self._emptied: asyncio.Event | None = None
        self._tail = (0, b"")
        self._loop = asyncio.get_running_loop()
        self._sweeper = self._next_sweep()

    def __call__(self) -> "Connection":
        """The protocol of a new connection."""
        return Connection(self)

    @property
    def requests_count(self) -> int:
        """How many requests there were, for gunicorn."""
        return self._taken + self._server.requests_count

    @property
    def connections(self) -> list[web.RequestHandler]:
        """Those that are aiohttp's."""
        return self._server.connections

    @property
    def is_closing(self) -> bool:
        """Whether a connection's next answer is its last."""
        return self._emptied is not None

    def opened(self, connection: "Connection") -> None:
        """One more is ours."""
        self._open.add(connection)

    def closed(self, connection: "Connection") -> None:
        """It is lost, or aiohttp's."""
        self._open.discard(connection)
        if self._emptied is not None and not self._open:
            self._emptied.set()

    def for_aiohttp(self) -> asyncio.Protocol:
        """The protocol of a connection that is aiohttp's."""
        return self._server()

    def taken(self) -> None:
        """One more request is ours."""
        self._taken += 1

    def find(self, request: Plain) -> Route | None:
        """Who may take a request."""
        method, target = request.method, request.target
        found = self._routes.get((method, target))
        return found or self._routes.get((method, target[: target.rfind("/") + 1]))

    def tail(self) -> bytes:
        """The end of every answer's head; the same for a second."""
        now = int(time.time())
        if self._tail[0] != now:
            date = formatdate(now, usegmt=True)
            text = f"Date: {date}\r\nServer: {SERVER_SOFTWARE}\r\n\r\n"
            self._tail = (now, text.encode())
        return self._tail[1]

    async def drain(self, seconds_max: float) -> None:
        """Close what is idle, answer and close the rest, and wait for that."""
        self._sweeper.cancel()
        self._emptied = asyncio.Event()
        for connection in list(self._open):
            connection.close_if_silent()
        late = self._loop.call_later(_ARRIVING_SECONDS_MAX, self._close_unfinished)
        if self._open:
            try:
                async with asyncio.timeout(seconds_max):
                    await self._emptied.wait()
            except TimeoutError:
                for connection in list(self._open):
                    connection.abort()
        late.cancel()

    def _sweep(self) -> None:
        """Close what has long been idle: one timer for all, and none a request."""
        before = self._loop.time() - self._idle_seconds_max
        for connection in list(self._open):
            connection.close_if_idle(since=before)
        self._sweeper = self._next_sweep()

    def _close_unfinished(self) -> None:
        for connection in list(self._open):
            connection.close_if_idle()

    def _next_sweep(self) -> asyncio.TimerHandle:
        return self._loop.call_later(self._idle_seconds_max / _SWEEPS, self._sweep)


class Connection(asyncio.Protocol):
    """One connection, as long as it is ours."""

    __slots__ = (
        "_asked",
        "_connections",
        "_expected_bytes",
        "_idle_since",
        "_is_full",
        "_is_paused",
        "_received",
        "_transport",
    )

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._transport: asyncio.Transport | None = None
        self._received: bytes | bytearray = b""
        self._expected_bytes = 0
        self._asked: _Asked | None = None
        """The request in work, if there is one."""
        self._idle_since = 0.0
        self._is_full = False
        """Whether the client does not read what it was sent."""
        self._is_paused = False
        """Whether we do not read what it sends."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open, and ours."""
        self._transport = cast("asyncio.Transport", transport)
        self._idle_since = asyncio.get_running_loop().time()
        self._connections.opened(self)
        if self._connections.is_closing:
            self._transport.close()

    def connection_lost(self, _: Exception | None) -> None:
        """It is gone; what is in work is finished all the same."""
        self._transport = None
        self._connections.closed(self)

    def pause_writing(self) -> None:
        """The client does not read: answer no more until it does."""
        self._is_full = True

    def resume_writing(self) -> None:
        """It reads again; it may have been told to while a request is in work."""
        self._is_full = False
        if self._asked is None:
            self._go_on()

    def data_received(self, data: bytes) -> None:
        """Some bytes: most often a request, and nothing but it."""
        if not self._received:
            self._received = data
        elif isinstance(self._received, bytearray):
            self._received += data
        else:
            self._received = bytearray(self._received + data)
        if self._asked is None and not self._is_full:
            self._go_on()
        elif len(self._received) > _EARLY_BYTES_MAX and self._transport is not None:
            self._transport.pause_reading()
            self._is_paused = True

    def answer(self, asked: "_Asked", answer: Answer) -> None:
        """Send the answer to a request, which is the one in work.

        Raises:
            RuntimeError: it was answered before.
        """
        if self._asked is not asked:
            raise RuntimeError("answered twice")
        self._asked = None
        status, headers, body = answer
        transport = self._transport
        if transport is not None:
            is_last = self._connections.is_closing
            transport.write(
                b"%b%bContent-Length: %d\r\nX-Request-Id: %b\r\n%b%b%b"
                % (
                    _STATUS_LINES[status],
                    headers,
                    len(body),
                    asked.request_id.encode(),
                    b"Connection: close\r\n" if is_last else b"",
                    self._connections.tail(),
                    body,
                )
            )
            if is_last:
                transport.close()
        self._idle_since = asyncio.get_running_loop().time()
        route = asked.route
        record(route.pattern, route.method, status, asked.request_id, asked.started)
        if self._received and not self._is_full:
            self._go_on()

    def close_if_silent(self) -> None:
        """Close it, unless it waits for an answer, or has begun to ask."""
        if not self._received:
            self.close_if_idle()

    def close_if_idle(self, *, since: float | None = None) -> None:
        """Close it, unless it waits for an answer, or not for so long."""
        is_idle = since is None or self._idle_since < since
        if self._asked is None and is_idle and self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close it, whatever waits."""
        if self._transport is not None:
            self._transport.abort()

    def _go_on(self) -> None:
        """Have the next request taken, if it has come."""
        transport = self._transport
        if transport is None or transport.is_closing() or not self._received:
            return
        if self._is_paused:
            self._is_paused = False
            transport.resume_reading()
        if len(self._received) < self._expected_bytes:
            return
        request = read(self._received, self._connections.body_bytes_max)
        if isinstance(request, int):
            self._expected_bytes = request
        elif request is None or not self._is_taken(request):
            self._hand_over(transport)

    def _is_taken(self, request: Plain) -> bool:
        route = self._connections.find(request)
        if route is None:
            return False
        received, self._received = self._received, b""
        self._asked = asked = _Asked(self, route, request)
        try:
            is_taken = route.take(request, asked)
        except Exception as error:  # noqa: BLE001 - as for any other route
            asked.fail(error)
            is_taken = True
        if not is_taken:
            self._asked, self._received = None, received
            return False
        self._expected_bytes = 0
        self._connections.taken()
        return True

    def _hand_over(self, transport: asyncio.Transport) -> None:
        """To aiohttp, for good, with what came and was not answered."""
        protocol = self._connections.for_aiohttp()
        self._connections.closed(self)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        protocol.data_received(bytes(self._received))


class _Asked:
    """A request in work: whoever has taken it answers it, and no other in its place.

    For whoever answers it a second time the connection may have its next one.
    """

    __slots__ = ("_connection", "request_id", "route", "started")

    def __init__(self, connection: Connection, route: Route, request: Plain) -> None:
        self._connection = connection
        self.route = route
        self.request_id = request_id_of(request.headers.get("x-request-id"))
        self.started = time.perf_counter()

    def answer(self, answer: Answer) -> None:
        """Send the answer."""
        self._connection.answer(self, answer)

    def fail(self, error: Exception) -> None:
        """Send what any other route answers to an error."""
        response = explain(error, self.request_id)
        lines = (f"{n}: {v}\r\n" for n, v in response.headers.items())
        body = response.body if isinstance(response.body, bytes) else b""
        self.answer(Answer(response.status, "".join(lines).encode(), body))
