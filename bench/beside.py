"""How long webhooks and reads take at a moderate rate: an open-loop client.

``python -m bench.beside URL PORT RATE SECONDS FIRST NUMBERS`` prints JSON. Sends RATE
texts and RATE reads a second by the clock, each timed from when it was due; texts from
numbers of which nothing is known, reads of random numbers that there are.
"""

import asyncio
import itertools
import json
import random
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import uvloop

from bench.service import Running
from bench.texts import number, number_path, read, signed_texts
from bench.visibility import CONNECTIONS, Connection, open_connection, part_ms

Kind = Literal["texts", "reads"]


@dataclass
class _Client:
    """Sends by the clock, and keeps how long each took."""

    running: Running
    idle: deque[Connection] = field(default_factory=deque)
    took: dict[Kind, list[float]] = field(
        default_factory=lambda: {"texts": [], "reads": []}
    )
    failed: int = 0

    async def run(self, requests: Sequence[tuple[Kind, bytes]], rate: int) -> None:
        """Send every request at its time, and wait for all."""
        for _ in range(CONNECTIONS):
            self.idle.append(await open_connection(self.running.port))
        started = time.monotonic() + 0.1
        async with asyncio.TaskGroup() as group:
            for ordinal, (kind, request) in enumerate(requests):
                due = started + ordinal / rate
                if (early := due - time.monotonic()) > 0:
                    await asyncio.sleep(early)
                group.create_task(self._one(kind, request, due))

    async def _one(self, kind: Kind, request: bytes, due: float) -> None:
        connection = (
            self.idle.popleft()
            if self.idle
            else await open_connection(self.running.port)
        )
        answer = await connection.ask(request)
        self.idle.append(connection)
        if answer.status == 200:
            self.took[kind].append(answer.at - due)
        else:
            self.failed += 1


def _requests(
    running: Running, each: int, first: int, numbers: int
) -> list[tuple[Kind, bytes]]:
    """A text and a read in turns."""
    chance = random.Random(first)  # noqa: S311 - nothing is kept secret by it
    requests: list[tuple[Kind, bytes]] = []
    for _, text in itertools.islice(
        signed_texts(running, itertools.count(first)), each
    ):
        known = number(1 + chance.randrange(numbers))
        requests += [("texts", text), ("reads", read(running, number_path(known)))]
    return requests


def _main(
    url: str, port: int, rate: int, seconds: int, people: tuple[int, int]
) -> None:
    running = Running(url, port, 0)
    client = _Client(running)
    requests = _requests(running, rate * seconds, *people)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(client.run(requests, 2 * rate))
    found: dict[str, float] = {"failed": client.failed}
    for kind, took in client.took.items():
        found[kind] = len(took)
        for name, part in (("p50", 0.5), ("p99", 0.99), ("max", 1.0)):
            found[f"{kind}_{name}_ms"] = part_ms(took, part)
    print(json.dumps(found))


if __name__ == "__main__":
    port, rate, seconds, first, numbers = map(int, sys.argv[2:7])
    _main(sys.argv[1], port, rate, seconds, (first, numbers))
