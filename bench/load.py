"""Drives a server with wrk, which replays requests that were prepared before.

Never counts an answer that is not 2xx as work done: a round with one fails.
"""

import json
import resource
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

_SCRIPT: Final = Path(__file__).with_name("replay.lua")

Order = Literal["once", "random"]


class BadRound(Exception):
    """Something went wrong that makes a round's number meaningless."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A file of raw HTTP requests, all of the same length."""

    path: Path
    request_bytes: int
    count: int


@dataclass(frozen=True, slots=True)
class Round:
    """What wrk counted, and what wrk itself cost."""

    requests: int
    seconds: float
    median_ms: float
    p99_ms: float
    wrk_cpu_seconds: float

    @property
    def per_second(self) -> float:
        """Answers a second, all of them 2xx."""
        return self.requests / self.seconds


def drive(
    url: str, prepared: Prepared, *, connections: int, seconds: int, order: Order
) -> Round:
    """One round of wrk.

    Raises:
        BadRound: an answer was not 2xx, a connection failed, or requests ran out.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command: list[object] = [
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{seconds}s",
        "--timeout",
        "15s",
    ]
    command += ["-s", _SCRIPT, url, "--"]
    command += [prepared.path, prepared.request_bytes, order]
    done = subprocess.run(
        [str(part) for part in command], check=False, capture_output=True, text=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    counted = _result(done.stdout + done.stderr)
    for fault in ("status", "socket", "exhausted"):
        if counted[fault]:
            raise BadRound(f"{counted[fault]:.0f} x {fault} in a round on {url}")
    return Round(
        requests=int(counted["requests"]),
        seconds=counted["seconds"],
        median_ms=counted["median_ms"],
        p99_ms=counted["p99_ms"],
        wrk_cpu_seconds=_cpu(after) - _cpu(before),
    )


def _result(printed: str) -> dict[str, float]:
    for line in printed.splitlines():
        if line.startswith("RESULT "):
            found: dict[str, float] = json.loads(line.removeprefix("RESULT "))
            return found
    raise BadRound(f"wrk said: {printed[-2000:]}")


def _cpu(usage: resource.struct_rusage) -> float:
    return usage.ru_utime + usage.ru_stime
