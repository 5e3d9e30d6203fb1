"""What the processes of a service cost: CPU seconds by kind, and memory.

Read from /proc beside the load, never by the processes themselves.
"""

import threading
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

import psutil

from bench.database import Database
from bench.service import Running

KINDS: Final = (
    "web",
    "projector",
    "postgres for web",
    "postgres for projector",
    "postgres, the rest",
)

_BACKENDS: Final = """
    SELECT pid, application_name FROM pg_stat_activity WHERE application_name <> ''
"""
_BACKEND_KINDS: Final = {
    "consent-ledger web": "postgres for web",
    "consent-ledger project": "postgres for projector",
}
_SAMPLE_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class Snapshot:
    """CPU seconds of each process until now, and its kind."""

    seconds: dict[int, float]
    kinds: dict[int, str]

    def since(self, before: "Snapshot") -> dict[str, float]:
        """CPU seconds by kind between two snapshots."""
        spent = dict.fromkeys(KINDS, 0.0)
        for pid, seconds in self.seconds.items():
            spent[self.kinds[pid]] += seconds - before.seconds.get(pid, 0.0)
        return spent


def take_snapshot(running: Running, database: Database) -> Snapshot:
    """What every process of the service has cost so far."""
    kinds = dict.fromkeys(web_processes(running), "web")
    kinds |= dict.fromkeys(_projectors(running), "projector")
    names = dict(database.rows(_BACKENDS))
    for child in psutil.Process(database.postmaster_pid).children():
        name = names.get(child.pid, "")
        kinds[child.pid] = _BACKEND_KINDS.get(name, "postgres, the rest")
    seconds = {pid: _cpu_seconds(pid) for pid in kinds}
    return Snapshot(seconds, kinds)


def web_processes(running: Running) -> list[int]:
    """The processes that answer requests: the master's children but the projector."""
    projectors = _projectors(running)
    children = psutil.Process(running.pid).children()
    return [c.pid for c in children if c.pid not in projectors]


class MemoryWatch:
    """Samples the web processes' memory while it is entered; the most of any one."""

    def __init__(self, running: Running) -> None:
        self._pids = web_processes(running)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.rss_mb = 0.0
        self.pss_mb = 0.0

    def __enter__(self) -> Self:
        """Start sampling."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop sampling."""
        self._stopping.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stopping.wait(_SAMPLE_SECONDS):
            for pid in self._pids:
                memory = psutil.Process(pid).memory_full_info()
                self.rss_mb = max(self.rss_mb, memory.rss / 1e6)
                self.pss_mb = max(self.pss_mb, memory.pss / 1e6)


def _projectors(running: Running) -> list[int]:
    children = psutil.Process(running.pid).children()
    return [c.pid for c in children if "project" in c.cmdline()]


def _cpu_seconds(pid: int) -> float:
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)
