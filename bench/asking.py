"""What questions about the past, and about lists, cost: rows on a large, kept ledger.

A question with ``asOf`` is held against the same service's answer for now, a list
against the plain SQL that reads its rows. The subtle part is the number with the
longest history: asked for now by everybody at once it is read once for all of them,
which no two questions about its past can be. So those are held against the numbers that
say most after it, and have talked to as many senders.
"""

import asyncio
import http.client
import json
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any, Final
from uuid import UUID

import asyncpg

from bench.database import Database
from bench.load import BadRound, Prepared
from bench.results import Row
from bench.rows import Plan, read_at_random, rounds_of
from bench.service import BEARER, Running, get
from bench.story import BEGINNING, END, LONGEST, SENDERS, Shape
from bench.texts import number, number_path, prepare_reads
from bench.usage import take_snapshot
from ledger.domain.ids import PhoneNumber
from ledger.master_key import load_master_keys
from ledger.settings import Settings
from ledger.store.identity import Identity
from ledger.store.keyring import Keyring

LIST_NUMBERS: Final = 10_000

_PATHS: Final = 50_000
"""How many different questions a round has at hand."""
_TALKATIVE: Final = 100
_LISTS: Final = 7
"""How many different lists a round checks; of the times the median is taken."""
_SENDER: Final = SENDERS[0]
_READ_ROWS: Final = """
    SELECT subject_id, sender, status, since, position
    FROM phone_number_senders_v1 WHERE subject_id = ANY ($1::uuid[])
"""


class NotThere(Exception):
    """The service does not answer such a question."""


@dataclass
class Asking:
    """The service on a kept ledger, and the questions that it is asked."""

    plan: Plan
    running: Running
    database: Database
    shape: Shape

    @property
    def note(self) -> str:
        """What every row says of its ledger."""
        return f"{self.shape.events:,} events of {self.shape.numbers:,} numbers"

    @cached_property
    def now(self) -> Prepared:
        """Random numbers, as they are now."""
        paths = [number_path(number(n)) for n in self.ordinals()]
        return self.prepare("now", paths)

    @cached_property
    def talkative_now(self) -> Prepared:
        """Numbers that have said much, as they are now."""
        last = min(LONGEST + _TALKATIVE, self.shape.numbers)
        paths = [number_path(number(n)) for n in range(LONGEST, last + 1)]
        return self.prepare("talkative-now", paths)

    def ordinals(self) -> list[int]:
        """Numbers at random, the same for every row."""
        return self._random(1).choices(range(1, self.shape.numbers + 1), k=_PATHS)

    def instants(self) -> list[str]:
        """Times of the story at random, as a query takes them."""
        generator = self._random(2)
        span = END - BEGINNING
        return [_rfc3339(BEGINNING + span * generator.random()) for _ in range(_PATHS)]

    def lists(self) -> list[list[str]]:
        """Lists of numbers, each at random and of nobody twice."""
        generator = self._random(3)
        count = min(LIST_NUMBERS, self.shape.numbers)
        everybody = range(1, self.shape.numbers + 1)
        return [
            [number(ordinal) for ordinal in generator.sample(everybody, count)]
            for _ in range(_LISTS)
        ]

    def prepare(self, name: str, paths: Sequence[str]) -> Prepared:
        """The questions as wrk sends them, in a file of that name."""
        prepared = prepare_reads(self.running, paths, self.plan.scratch)
        kept = prepared.path.with_name(f"{name}.http")
        return replace(prepared, path=prepared.path.rename(kept))

    def drive(self, prepared: Prepared) -> tuple[float, float]:
        """Answers a second, and the milliseconds of CPU that each has cost us."""
        before = take_snapshot(self.running, self.database)
        done = read_at_random(self.running, prepared, self.plan.seconds)
        spent = take_snapshot(self.running, self.database).since(before)
        return done.per_second, 1000 * sum(spent.values()) / done.requests

    def _random(self, seed: int) -> random.Random:
        return random.Random(seed)  # noqa: S311 - nothing is kept secret by it


def as_of(asking: Asking) -> Row:
    """Rate of random numbers at random times."""
    pairs = zip(asking.ordinals(), asking.instants(), strict=True)
    paths = [f"{number_path(number(n))}?asOf={at}" for n, at in pairs]
    return _rates("as-of", asking, paths, asking.now)


def as_of_longest(asking: Asking) -> Row:
    """Rate of the number with the longest history, at random times."""
    path = number_path(number(LONGEST))
    paths = [f"{path}?asOf={instant}" for instant in asking.instants()]
    row = _rates("as-of-longest", asking, paths, asking.talkative_now)
    return replace(row, notes=[*row.notes, f"{asking.shape.longest:,} events long"])


def as_of_known_at(asking: Asking) -> Row:
    """Rate of random numbers at random times, as they were known at others."""
    instants = asking.instants()
    asked = zip(asking.ordinals(), instants, reversed(instants), strict=True)
    paths = [f"{number_path(number(n))}?asOf={t}&knownAt={k}" for n, t, k in asked]
    return _rates("as-of-known-at", asking, paths, asking.now)


def check(asking: Asking) -> Row:
    """Time of a list of 10,000 numbers, as they are now."""
    return _checks("check", asking, [None] * _LISTS)


def check_as_of(asking: Asking) -> Row:
    """Time of a list of 10,000 numbers, each list at another random time."""
    return _checks("check-as-of", asking, asking.instants()[:_LISTS])


def _rates(name: str, asking: Asking, paths: Sequence[str], now: Prepared) -> Row:
    try:
        _answered(*get(asking.running.url + paths[0]))
    except NotThere as error:
        return Row(name, [], notes=[str(error)])
    then = asking.prepare(name, paths)
    for prepared in (then, now):
        asking.drive(prepared)
    ours: list[tuple[float, float]] = []
    theirs: list[tuple[float, float]] = []
    for _ in rounds_of(asking.plan, name):
        ours.append(asking.drive(then))
        theirs.append(asking.drive(now))
        asking.plan.say(f"  {ours[-1][0]:,.0f} against {theirs[-1][0]:,.0f} a second")
    our_rates, our_costs = zip(*ours, strict=True)
    their_rates, their_costs = zip(*theirs, strict=True)
    costs = [statistics.median(each) for each in (our_costs, their_costs)]
    note = (
        f"CPU an answer {costs[0]:.3f} ms against {costs[1]:.3f} ms, web and database"
    )
    return Row(name, our_rates, their_rates, notes=[f"{asking.note}; {note}"])


def _checks(name: str, asking: Asking, instants: Sequence[str | None]) -> Row:
    lists = asking.lists()
    bodies = [_body(*each) for each in zip(lists, instants, strict=True)]
    with _connection(asking.running) as connection, _plain(asking.database) as plain:
        try:
            _post(connection, bodies[0], len(lists[0]))
        except NotThere as error:
            return Row(name, [], notes=[str(error)])
        subjects = [plain.subjects(numbers) for numbers in lists]
        plain.read(subjects[0])
        ours, theirs = [], []
        for _ in rounds_of(asking.plan, name):
            times = [
                (_post(connection, body, len(ids)), plain.read(ids))
                for body, ids in zip(bodies, subjects, strict=True)
            ]
            ours.append(statistics.median(our for our, _ in times))
            theirs.append(statistics.median(their for _, their in times))
            asking.plan.say(f"  {ours[-1]:,.1f} against {theirs[-1]:,.1f} ms")
    note = f"{asking.note}; lists of {len(lists[0]):,}"
    return Row(name, ours, theirs, notes=[note])


@dataclass
class _Plain:
    """The least that reading a list's rows takes: one statement, on a warm plan."""

    runner: asyncio.Runner
    connection: "asyncpg.Connection[asyncpg.Record]"
    identity: Identity

    def subjects(self, numbers: Sequence[str]) -> list[UUID]:
        """Whose the numbers are; making ids is not part of the time."""
        return [self.identity.subject_id(PhoneNumber(each)) for each in numbers]

    def read(self, subjects: Sequence[UUID]) -> float:
        """Milliseconds until all rows of the subjects are here."""
        started = time.perf_counter()
        rows = self.runner.run(self.connection.fetch(_READ_ROWS, subjects))
        milliseconds = 1000 * (time.perf_counter() - started)
        if len(rows) < len(subjects):
            raise BadRound(f"{len(rows)} rows of {len(subjects)} numbers")
        return milliseconds


@contextmanager
def _plain(database: Database) -> Iterator[_Plain]:
    settings = Settings.from_mapping({"LEDGER_DATA_DIR": str(database.folder)})
    with asyncio.Runner() as runner:
        connection = runner.run(asyncpg.connect(database.dsn))
        keyring = Keyring(connection, load_master_keys(settings))
        try:
            yield _Plain(runner, connection, runner.run(keyring.identity()))
        finally:
            runner.run(connection.close())


@contextmanager
def _connection(running: Running) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=60)
    try:
        yield connection
    finally:
        connection.close()


def _body(numbers: Sequence[str], instant: str | None) -> bytes:
    asked: dict[str, object] = {"phoneNumbers": numbers, "sender": _SENDER}
    return json.dumps(asked if instant is None else asked | {"asOf": instant}).encode()


def _post(connection: http.client.HTTPConnection, body: bytes, expected: int) -> float:
    """Milliseconds until a list's answer is here, and the proof that it is one."""
    headers = {"Authorization": BEARER, "Content-Type": "application/json"}
    started = time.perf_counter()
    connection.request("POST", "/PhoneNumbers/check", body, headers)
    response = connection.getresponse()
    answer = response.read()
    milliseconds = 1000 * (time.perf_counter() - started)
    found = _answered(response.status, answer)
    if len(found["results"]) != expected or "position" not in found:
        raise BadRound(f"{len(found['results'])} answers for {expected} numbers")
    return milliseconds


def _answered(status: int, body: bytes) -> Any:  # noqa: ANN401 - JSON
    """The answer.

    Raises:
        NotThere: there is no such route, or no such parameter, yet.
        BadRound: it is not an answer.
    """
    if status in (400, 404, 405, 415):
        raise NotThere(f"not there yet: it answers {status}: {body[:300]!r}")
    if status != 200:
        raise BadRound(f"it answers {status}: {body[:300]!r}")
    return json.loads(body)


def _rfc3339(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
