"""What a rebuild takes: of the library's time, of the disk's, and of who is served.

The command itself, ``consent-ledger rebuild`` with two processes, from its start to its
end, on a ledger that is kept. The version that served before serves again afterwards
and the new one is dropped, so that the kept ledger stays as it is, but for what it says
of switches. Phases are read from the table ``rebuilds`` beside the work.
"""

import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import psutil
import psycopg

from bench.database import Database
from bench.fill import NUMBERS
from bench.imports import children_seconds, server_seconds
from bench.load import BadRound
from bench.results import Row
from bench.rows import Plan, found_by, library_reads_all, rounds_of
from bench.service import Running, environment
from ledger.store.embedded import DATABASE

PROCESSES: Final = 2
BESIDE_RATE: Final = 500
"""Webhooks a second, and as many reads."""
EVENTS_REBUILT: Final = 1_000_000

_COMMAND: Final = Path(sys.executable).with_name("consent-ledger")
_SAMPLE_SECONDS: Final = 0.05
_MEGABYTE: Final = 1_000_000
_NAMES: Final = ("phone_numbers", "consent_history")
# Each list is copied on a connection of its own: there are two cores.
_COPIED: Final = (
    ("consent_history_v1",),
    ("phone_number_senders_v1", "phone_numbers_v1"),
)
_PHASES: Final = ("filling", "indexing", "catching up", "compared")
_READ_PHASES: Final = "SELECT DISTINCT phase FROM rebuilds"
_READ_INDEXES: Final = "SELECT indexdef FROM pg_indexes WHERE tablename = %s"


class _Rebuilt(NamedTuple):
    """What one run of the command has cost."""

    per_second: float
    python_us: float
    postgres_us: float
    rss_mb: float
    phases: dict[str, float]
    """The share of the time that went by in each."""


def rebuilding(plan: Plan, database: Database) -> Iterator[Row]:
    """Against the library, by memory, and against COPY: of the same rounds."""
    found: list[_Rebuilt] = []
    library: list[float] = []
    copied: list[float] = []
    for _ in rounds_of(plan, "rebuild"):
        events = database.position()
        found.append(_rebuild(database, events))
        database.rows("CHECKPOINT")
        there = database.position()  # The switches are events, too.
        library.append(there / library_reads_all(database, there))
        copied.append(events / _copy(database, plan.scratch))
        plan.say(
            f"  {found[-1].per_second:,.0f} events/s; the library "
            f"{library[-1]:,.0f}, COPY {copied[-1]:,.0f}"
        )
    ours = [one.per_second for one in found]
    detail = {"runs": [one._asdict() for one in found]}
    yield Row("rebuild", ours, library, notes=_notes(found), detail=detail)
    yield Row("rebuild-memory", [one.rss_mb for one in found])
    yield Row("rebuild-limit", ours, copied)


def beside(plan: Plan, database: Database, running: Running) -> Iterator[Row]:
    """How long webhooks and reads take while both projections are rebuilt, and not."""
    with_it: list[dict[str, float]] = []
    without: list[dict[str, float]] = []
    for ordinal in rounds_of(plan, "rebuild-beside"):
        without.append(_drive(plan, database, running, 2 * ordinal))
        with _rebuilding(database) as ends:
            with_it.append(_drive(plan, database, running, 2 * ordinal + 1))
        plan.say(f"  {with_it[-1]} against {without[-1]}; {len(ends)} rebuilds ended")
    for name, key in (("rebuild-beside", "texts"), ("rebuild-beside-get", "reads")):
        ours = [one[f"{key}_p99_ms"] for one in with_it]
        theirs = [one[f"{key}_p99_ms"] for one in without]
        medians = [
            statistics.median([one[f"{key}_p50_ms"] for one in side])
            for side in (with_it, without)
        ]
        note = "p50 {:.1f} against {:.1f} ms".format(*medians)
        yield Row(name, ours, theirs, notes=[note], detail={"rounds": with_it})


def _notes(found: Sequence[_Rebuilt]) -> list[str]:
    phases = {
        phase: statistics.median([one.phases.get(phase, 0) for one in found])
        for one in found
        for phase in one.phases
    }
    shares = ", ".join(f"{phase} {share:.0%}" for phase, share in phases.items())
    python = statistics.median([one.python_us for one in found])
    server = statistics.median([one.postgres_us for one in found])
    return [
        f"time: {shares}",
        f"CPU an event: Python {python:.1f} us, PostgreSQL {server:.1f} us",
    ]


def _rebuild(database: Database, events: int) -> _Rebuilt:
    server, python = server_seconds(database), children_seconds()
    started = time.perf_counter()
    process = _start(database)
    with _Watch(database, process.pid) as watch:
        _, printed = process.communicate()
    seconds = time.perf_counter() - started
    server, python = server_seconds(database) - server, children_seconds() - python
    if process.returncode != 0:
        raise BadRound(f"the rebuild failed: {printed[-2000:]}")
    _change(database, "--back")
    _change(database, "--drop-old")
    return _Rebuilt(
        events / seconds,
        1e6 * python / events,
        1e6 * server / events,
        watch.rss_mb,
        watch.shares,
    )


def _start(database: Database) -> "subprocess.Popen[str]":
    command = [_COMMAND, "rebuild", *_NAMES, "--processes", PROCESSES, "--json"]
    return subprocess.Popen(
        [str(part) for part in command],
        env=environment(database.folder, 0),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _change(database: Database, option: str) -> None:
    done = subprocess.run(
        [str(_COMMAND), "rebuild", *_NAMES, option],
        env=environment(database.folder, 0),
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise BadRound(f"rebuild {option} failed: {done.stderr[-2000:]}")


class _Watch:
    """Samples the phase, and the memory of those that fill, while it is entered."""

    def __init__(self, database: Database, pid: int) -> None:
        self._database = database
        self._process = psutil.Process(pid)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._seen: Counter[str] = Counter()
        self.rss_mb = 0.0

    def __enter__(self) -> Self:
        """Start sampling."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop sampling."""
        self._stopping.set()
        self._thread.join()

    @property
    def shares(self) -> dict[str, float]:
        """Of the samples, how many were of each phase."""
        whole = max(1, self._seen.total())
        return {phase: count / whole for phase, count in self._seen.items()}

    def _watch(self) -> None:
        with _connect(self._database) as connection:
            while not self._stopping.wait(_SAMPLE_SECONDS):
                self._seen[_phase(connection)] += 1
                self.rss_mb = max([self.rss_mb, *_filling_mb(self._process)])


def _phase(connection: "psycopg.Connection[Any]") -> str:
    """Of several, the first that one is still in."""
    found = {row[0] for row in connection.execute(_READ_PHASES)}
    return min(found, key=_PHASES.index, default="starting and ending")


def _filling_mb(process: psutil.Process) -> list[float]:
    try:
        return [
            child.memory_info().rss / _MEGABYTE
            for child in process.children(recursive=True)
            if any("spawn_main" in part for part in child.cmdline())
        ]
    except psutil.NoSuchProcess:
        return []


def _copy(database: Database, scratch: Path) -> float:
    """Seconds of a COPY of the finished tables into empty ones, with their indexes."""
    tables = [table for together in _COPIED for table in together]
    for table in tables:
        _copy_out(database, table, scratch)
    database.rows("CHECKPOINT")
    started = time.perf_counter()
    with ThreadPoolExecutor() as threads:
        list(threads.map(partial(_copy_in, database, scratch), _COPIED))
    seconds = time.perf_counter() - started
    for table in tables:
        database.rows(f"DROP TABLE copy_{table}")
        (scratch / f"{table}.copy").unlink()
    return seconds


def _copy_out(database: Database, table: str, scratch: Path) -> None:
    like = f"LIKE {table} INCLUDING ALL EXCLUDING INDEXES"
    database.rows(f"CREATE TABLE copy_{table} ({like})")
    selected = f"COPY {table} TO STDOUT (FORMAT binary)"
    with (
        _connect(database) as connection,
        connection.cursor().copy(selected) as copy,
        (scratch / f"{table}.copy").open("wb") as out,
    ):
        out.writelines(copy)


def _copy_in(database: Database, scratch: Path, tables: Sequence[str]) -> None:
    """Rows first, then indexes: faster than together."""
    with _connect(database) as connection:
        for table in tables:
            into = f"COPY copy_{table} FROM STDIN (FORMAT binary)"
            file = scratch / f"{table}.copy"
            with connection.cursor().copy(into) as copy, file.open("rb") as stored:
                while piece := stored.read(1 << 20):
                    copy.write(piece)
            for (made,) in connection.execute(_READ_INDEXES, (table,)).fetchall():
                connection.execute(made.replace(table, f"copy_{table}"))


def _connect(database: Database) -> "psycopg.Connection[Any]":
    return psycopg.connect(
        host=database.socket_dir, user="postgres", dbname=DATABASE, autocommit=True
    )


@contextmanager
def _rebuilding(database: Database) -> Iterator[list[int]]:
    """Rebuild again and again; what each ended with."""
    ends: list[int] = []
    stopping = threading.Event()

    def run() -> None:
        while not stopping.is_set():
            process = _start(database)
            process.communicate()
            ends.append(process.returncode)
            if process.returncode:
                return
            _change(database, "--drop-old")

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield ends
    finally:
        stopping.set()
        thread.join()
    if any(ends):
        raise BadRound(f"a rebuild ended with {ends}")


def _drive(
    plan: Plan, database: Database, running: Running, ordinal: int
) -> dict[str, float]:
    first = 6_000_000_000 + ordinal * 10_000_000  # nobody else's numbers
    command = [sys.executable, "-m", "bench.beside", running.url]
    seconds = 3 * plan.seconds
    command += [str(n) for n in (running.port, BESIDE_RATE, seconds, first, NUMBERS)]
    before = database.position()
    found = found_by(command)
    risen = database.said_after(before)
    if found["failed"] or risen < found["texts"]:
        raise BadRound(f"{risen} are in the ledger after {found}")
    database.wait_caught_up()
    return found
