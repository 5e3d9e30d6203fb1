"""What is measured: a function a row, each with its own proof that the work was done.

The two sides of a ratio take turns, A B A B A B, and a ratio is taken of neighbours, so
that a machine that gets slower for a minute slows both. Never measures while a
projection has still to catch up with the round before.
"""

import http.client
import itertools
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from bench.database import Database, Inserted
from bench.fill import EVENTS, NUMBERS, reset_projections
from bench.load import BadRound, Order, Prepared, Round, drive
from bench.results import Row
from bench.service import BEARER, Running, get, project
from bench.texts import number, number_path, prepare_reads, prepare_texts
from bench.usage import MemoryWatch, Snapshot, take_snapshot

PGBENCH_CLIENTS: Final = 64
VISIBLE_RATE: Final = 1_000
LIST_PATH: Final = "/PhoneNumbers/?status=out&limit=50"

_PAGES: Final = 1_000
_TEXTS_PER_SECOND_FIRST: Final = 15_000
_PROJECTOR_SECONDS_MAX: Final = 300
_CONNECTED: Final = """
    SELECT count(*) FROM pg_stat_activity
    WHERE application_name = 'consent-ledger project'
"""


@dataclass
class Plan:
    """How long and how often, where files go, and how to say what happens."""

    seconds: int
    rounds: int
    scratch: Path
    say: Callable[[str], None]


@dataclass
class Writing:
    """The service while webhooks are measured, and what was learned on the way."""

    plan: Plan
    running: Running
    database: Database
    row_bytes: int = 0
    texts_per_second: float = _TEXTS_PER_SECOND_FIRST
    rss_mb: list[float] = field(default_factory=list)
    pss_mb: list[float] = field(default_factory=list)
    spent: dict[str, float] = field(default_factory=dict)
    spent_on: int = 0
    spent_wall: float = 0.0
    grouped: float = 0.0

    def warm_up(self) -> None:
        """Open connections, make plans, learn the rate and the size of an event."""
        rate = texts(self, connections=64, seconds=2).per_second
        self.row_bytes = self.database.event_row_bytes()
        self.database.prepare_pgbench()
        self.plan.say(f"warm: {rate:,.0f} webhooks/s, rows of {self.row_bytes} bytes")
        _pgbench(self, clients=PGBENCH_CLIENTS, seconds=1)


def webhooks_64(writing: Writing) -> Row:
    """Rate of signed texts at 64 connections; memory and CPU are watched meanwhile."""
    return _webhooks("webhooks-64", writing, connections=64)


def webhooks_256(writing: Writing) -> Row:
    """Rate of signed texts at 256 connections."""
    return _webhooks("webhooks-256", writing, connections=256)


def webhooks_64_consent(writing: Writing) -> Row:
    """The first again, of a service that records what texts say, and no texts."""
    return _webhooks("webhooks-64-consent", writing, connections=64)


def webhooks_256_consent(writing: Writing) -> Row:
    """The second again, of the same service."""
    return _webhooks("webhooks-256-consent", writing, connections=256)


def one_webhook(writing: Writing) -> Row:
    """Median time of a text, one after the other."""
    ours, theirs = [], []
    for _ in rounds_of(writing.plan, "one-webhook"):
        ours.append(texts(writing, connections=1).median_ms)
        theirs.append(_pgbench(writing, clients=1).median_ms)
    return Row("one-webhook", ours, theirs)


def visible(writing: Writing) -> Row:
    """The 99th percentile of the time from a text's 200 until a GET shows it."""
    found = []
    for ordinal in rounds_of(writing.plan, "visible"):
        found.append(_visible_round(writing, ordinal))
        writing.plan.say(f"  {found[-1]['visible_p99_ms']:.0f} ms")
        writing.database.wait_caught_up()
    p99 = [float(f["visible_p99_ms"]) for f in found]
    last = {name: statistics.median([f[name] for f in found]) for name in found[0]}
    note = (
        "p50 {visible_p50_ms:.0f} ms, max {visible_max_ms:.0f} ms; 200 after "
        "{answered_p50_ms:.1f} ms, p99 {answered_p99_ms:.0f} ms; sent at most "
        "{late_p99_ms:.1f} ms late (p99); client used {client_cpu_percent:.0f} % of a "
        "core for it and {polls_per_second:,.0f} GETs/s"
    ).format(**last)
    return Row("visible", p99, notes=[note], detail={"rounds": found})


def memory(writing: Writing) -> Row:
    """The most that a web process held in the rounds of ``webhooks_64``."""
    if not writing.rss_mb:
        _webhooks("webhooks-64", writing, connections=64)
    pss = statistics.median(writing.pss_mb)
    note = f"{pss:.0f} MB where pages shared with its siblings count by share (PSS)"
    return Row("memory", writing.rss_mb, notes=[note], detail={"pssMb": writing.pss_mb})


def projector(plan: Plan, database: Database) -> Row:
    """Events a second from empty tables to both caught up."""
    ours, theirs = [], []
    for _ in rounds_of(plan, "projector"):
        reset_projections(database)
        ours.append(EVENTS / project_all(database))
        database.rows("CHECKPOINT")
        theirs.append(EVENTS / library_reads_all(database, EVENTS))
        plan.say(f"  {ours[-1]:,.0f} against {theirs[-1]:,.0f} events/s")
    return Row("projector", ours, theirs)


def get_number(plan: Plan, running: Running, constant: Running) -> Row:
    """Rate of reads of one record, of a random number each."""
    paths = [number_path(number(n)) for n in range(1, NUMBERS + 1)]
    return _reads("get-number", plan, running, constant, paths)


def list_numbers(plan: Plan, running: Running, constant: Running) -> Row:
    """Rate of the list by status, of a random page each.

    A thousand pages and not one, since the service reads a page that many ask for at
    the same moment only once, and remembers the parse of 512 queries.
    """
    status, body = get(running.url + LIST_PATH)
    if status in (404, 405):
        return Row("list", [], notes=[f"not there yet: the list answers {status}"])
    if status != 200:
        raise BadRound(f"the list answers {status}: {body[:500]!r}")
    plan.say(f"list: walking to find {_PAGES} pages")
    paths = list(itertools.islice(_pages(running), _PAGES))
    row = _reads("list", plan, running, constant, paths)
    same = read_at_random(running, prepare_reads(running, [LIST_PATH], plan.scratch), 2)
    note = f"{len(paths)} pages at random; all asking for one page: "
    return replace(row, notes=[f"{note}{same.per_second:,.0f}/s"])


def _pages(running: Running) -> Iterator[str]:
    """Paths of the list's pages, as a client that follows its links sees them."""
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=10)
    path: str | None = LIST_PATH
    while path is not None:
        yield path
        connection.request("GET", path, headers={"Authorization": BEARER})
        response = connection.getresponse()
        records = json.loads(response.read())
        link = response.getheader("Link")
        if link is not None and len(records) != 50:
            raise BadRound(f"{path} gives {len(records)} records, not 50")
        path = link.partition("<")[2].partition(">")[0] if link else None


def rounds_of(plan: Plan, name: str) -> Iterator[int]:
    """The rounds of a row, from 1, each announced."""
    for ordinal in range(1, plan.rounds + 1):
        plan.say(f"{name}: round {ordinal} of {plan.rounds}")
        yield ordinal


def _webhooks(name: str, writing: Writing, *, connections: int) -> Row:
    ours, theirs, times, grouped = [], [], [], []
    for _ in rounds_of(writing.plan, name):
        with MemoryWatch(writing.running) as watch:
            done = texts(writing, connections=connections, is_watched=connections == 64)
        if connections == 64:
            writing.rss_mb.append(watch.rss_mb)
            writing.pss_mb.append(watch.pss_mb)
        ours.append(done.per_second)
        times.append(done.p99_ms)
        grouped.append(writing.grouped)
        theirs.append(_pgbench(writing, clients=PGBENCH_CLIENTS).per_second)
        writing.plan.say(f"  {ours[-1]:,.0f} against {theirs[-1]:,.0f} a second")
    note = (
        f"p99 of a webhook's time {statistics.median(times):.0f} ms, "
        f"{statistics.median(grouped):.0f} texts a transaction"
    )
    detail = {"p99Ms": times, "textsATransaction": grouped}
    return Row(name, ours, theirs, notes=[note], detail=detail)


def texts(
    writing: Writing,
    *,
    connections: int,
    seconds: int | None = None,
    is_watched: bool = False,
) -> Round:
    """A round of texts, and the proof that each 200 is in the ledger."""
    seconds = seconds or writing.plan.seconds
    count = int(1.6 * seconds * writing.texts_per_second) + 20_000
    prepared = prepare_texts(writing.running, count, writing.plan.scratch)
    before = writing.database.position()
    at_start = take_snapshot(writing.running, writing.database)
    done = drive(
        writing.running.url,
        prepared,
        connections=connections,
        seconds=seconds,
        order="once",
    )
    if is_watched:
        _account(writing, at_start, done)
    writing.database.wait_caught_up()
    risen = writing.database.said_after(before)
    if not 0 <= risen - done.requests <= connections:
        raise BadRound(f"{done.requests} answered 200, but {risen} are in the ledger")
    writing.grouped = risen / max(1, writing.database.transactions_after(before))
    if connections > 1:
        writing.texts_per_second = done.per_second
    return done


def _account(writing: Writing, at_start: Snapshot, done: Round) -> None:
    now = take_snapshot(writing.running, writing.database)
    spent = {**now.since(at_start), "wrk": done.wrk_cpu_seconds}
    for kind, seconds in spent.items():
        writing.spent[kind] = writing.spent.get(kind, 0) + seconds
    writing.spent_on += done.requests
    writing.spent_wall += done.seconds


def _pgbench(writing: Writing, *, clients: int, seconds: int | None = None) -> Inserted:
    return writing.database.pgbench(
        clients=clients,
        seconds=seconds or writing.plan.seconds,
        row_bytes=writing.row_bytes,
    )


def _visible_round(writing: Writing, ordinal: int) -> dict[str, float]:
    running, seconds = writing.running, 2 * writing.plan.seconds
    first = 5_000_000_000 + ordinal * 10_000_000  # nobody else's numbers
    command = [sys.executable, "-m", "bench.visibility", running.url]
    command += [str(n) for n in (running.port, VISIBLE_RATE, seconds, first)]
    before = writing.database.position()
    found = found_by(command)
    risen = writing.database.said_after(before)
    if found["failed"] or risen != found["sent"]:
        raise BadRound(f"{risen} are in the ledger after {found}")
    return found


def project_all(database: Database, *, is_sealed: bool = True) -> float:
    """Seconds from the projector's first connection until nothing is left."""
    deadline = time.monotonic() + _PROJECTOR_SECONDS_MAX
    with database.lags() as lag, project(database.folder, is_sealed=is_sealed):
        while not database.value(_CONNECTED):
            _check_time(deadline)
        started = time.perf_counter()
        while lag() > 0:
            _check_time(deadline)
            time.sleep(0.05)
        return time.perf_counter() - started


def _check_time(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise BadRound(f"the projector took over {_PROJECTOR_SECONDS_MAX} seconds")


def library_reads_all(database: Database, events: int) -> float:
    """Seconds in which the library reads and maps all there is, so many events."""
    name = database.dsn.partition("?")[0].rpartition("/")[2]
    command = [sys.executable, "-m", "bench.library", database.socket_dir, name]
    found = found_by(command)
    if found["events"] != events:
        raise BadRound(f"the library read {found['events']} events of {events}")
    return float(found["seconds"])


def found_by(command: list[str]) -> dict[str, float]:
    """What another process of ours measured and printed."""
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise BadRound(f"{command[2]} failed: {done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _reads(
    name: str, plan: Plan, running: Running, constant: Running, paths: list[str]
) -> Row:
    ours_prepared = prepare_reads(running, paths, plan.scratch)
    theirs_prepared = prepare_reads(constant, paths, plan.scratch)
    read_at_random(running, ours_prepared, 1)
    read_at_random(constant, theirs_prepared, 1)
    ours, theirs = [], []
    for _ in rounds_of(plan, name):
        ours.append(read_at_random(running, ours_prepared, plan.seconds).per_second)
        theirs.append(
            read_at_random(constant, theirs_prepared, plan.seconds).per_second
        )
        plan.say(f"  {ours[-1]:,.0f} against {theirs[-1]:,.0f} a second")
    return Row(name, ours, theirs)


def read_at_random(running: Running, prepared: Prepared, seconds: int) -> Round:
    """A round of requests at random, at 64 connections."""
    order: Order = "random"
    return drive(running.url, prepared, connections=64, seconds=seconds, order=order)
