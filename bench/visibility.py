"""How long after its 200 a text is visible: an open-loop client in its own process.

``python -m bench.visibility URL PORT RATE SECONDS FIRST`` prints JSON. Texts are sent
by the clock, whether or not earlier ones were answered, so a slow moment cannot hide by
slowing the client down. One text in twenty is followed: from the receipt of its 200 the
record of its number, which nobody texted from before, is read again and again until it
is there. The client speaks HTTP on bare sockets, and says what CPU it used, how late it
sent and how often it asked, so that one can see whether it was the bottleneck.
"""

import asyncio
import itertools
import json
import re
import resource
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Final, NamedTuple, cast

import uvloop

from bench.service import Running
from bench.texts import number_path, read, signed_texts

FOLLOWED_ONE_IN: Final = 20
POLL_SECONDS: Final = 0.001
CONNECTIONS: Final = 64
VISIBLE_SECONDS_MAX: Final = 10.0

_LENGTH: Final = re.compile(rb"content-length: *([0-9]+)", re.IGNORECASE)


class Answer(NamedTuple):
    """An answer's status, and when its last byte came.

    By the system's clock: uvloop's own counts whole milliseconds.
    """

    status: int
    at: float


class Connection(asyncio.Protocol):
    """One request at a time on a connection that is kept."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._received = b""
        self._answer: asyncio.Future[Answer] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio.Protocol``."""
        # uvloop's is one in all but its bases.
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """See ``asyncio.Protocol``: what is waited for will not come."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError("closed"))

    async def ask(self, request: bytes) -> Answer:
        """The answer to ``request``."""
        assert self._transport is not None
        self._received, self._answer = b"", self._loop.create_future()
        self._transport.write(request)
        return await self._answer

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``."""
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found or self._answer is None or self._answer.done():
            return
        length = _LENGTH.search(head)
        if length is None or len(body) >= int(length[1]):
            self._answer.set_result(Answer(int(head[9:12]), time.monotonic()))


@dataclass
class _Client:
    """Sends by the clock, and keeps what it saw."""

    running: Running
    idle: deque[Connection] = field(default_factory=deque)
    answered: list[float] = field(default_factory=list)
    visible: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    polls: int = 0
    failed: int = 0

    async def run(self, texts: list[tuple[str, bytes]], rate: int) -> None:
        """Send every text at its time, and wait for all that were followed."""
        self.idle.extend(
            [await open_connection(self.running.port) for _ in range(CONNECTIONS)]
        )
        started = time.monotonic() + 0.1
        async with asyncio.TaskGroup() as group:
            for ordinal, (number, request) in enumerate(texts):
                due = started + ordinal / rate
                if (early := due - time.monotonic()) > 0:
                    await asyncio.sleep(early)
                self.late.append(time.monotonic() - due)
                is_followed = ordinal % FOLLOWED_ONE_IN == 0
                group.create_task(self._one(number, request, due, is_followed))

    async def _one(
        self, number: str, request: bytes, due: float, is_followed: object
    ) -> None:
        answer = await self._ask(request)
        if answer.status != 200:
            self.failed += 1
            return
        self.answered.append(answer.at - due)
        if is_followed:
            await self._follow(read(self.running, number_path(number)), answer.at)

    async def _follow(self, request: bytes, since: float) -> None:
        while time.monotonic() < since + VISIBLE_SECONDS_MAX:
            self.polls += 1
            answer = await self._ask(request)
            if answer.status == 200:
                self.visible.append(answer.at - since)
                return
            await asyncio.sleep(POLL_SECONDS)
        self.failed += 1

    async def _ask(self, request: bytes) -> Answer:
        connection = (
            self.idle.popleft()
            if self.idle
            else await open_connection(self.running.port)
        )
        answer = await connection.ask(request)
        self.idle.append(connection)
        return answer


async def open_connection(port: int) -> Connection:
    """A connection to the service on this machine."""
    loop = asyncio.get_running_loop()
    _, made = await loop.create_connection(Connection, "127.0.0.1", port)
    return made


def part_ms(values: list[float], part: float) -> float:
    """The milliseconds within which that part of the values, in seconds, is."""
    ordered = sorted(values)
    return 1000 * ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def _main(url: str, port: int, rate: int, seconds: int, first: int) -> None:
    running = Running(url, port, 0)
    ordinals = itertools.count(first)
    texts = list(itertools.islice(signed_texts(running, ordinals), rate * seconds))
    before = resource.getrusage(resource.RUSAGE_SELF)
    client = _Client(running)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(client.run(texts, rate))
    after = resource.getrusage(resource.RUSAGE_SELF)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(
        json.dumps(
            {
                "sent": len(texts),
                "failed": client.failed,
                "followed": len(client.visible),
                "visible_p50_ms": part_ms(client.visible, 0.5),
                "visible_p99_ms": part_ms(client.visible, 0.99),
                "visible_max_ms": part_ms(client.visible, 1),
                "answered_p50_ms": part_ms(client.answered, 0.5),
                "answered_p99_ms": part_ms(client.answered, 0.99),
                "late_p99_ms": part_ms(client.late, 0.99),
                "polls_per_second": client.polls / seconds,
                "client_cpu_percent": 100 * spent / seconds,
            }
        )
    )


if __name__ == "__main__":
    _main(sys.argv[1], *map(int, sys.argv[2:6]))
