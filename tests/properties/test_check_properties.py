"""A list is answered as each of its numbers is by itself, now and at any time."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import NamedTuple

import pytest
from builders import MASTERS
from conftest import settings_for
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.api.check_reader import CheckQuestion, CheckReader, Said, read_said
from ledger.api.models import PastRecord
from ledger.api.past import PastReader
from ledger.api.phone_numbers import status_for_sender
from ledger.api.point_in_time import Moments, past_record
from ledger.api.read_model import ReadModel
from ledger.api.serving import Serving
from ledger.domain.consent import NO_FACTS, Fact, settled, with_fact
from ledger.domain.ids import (
    NO_SENDER,
    Answer,
    PhoneNumber,
    Position,
    Sender,
    Version,
)
from ledger.store.database import Pool, open_pool
from ledger.store.keyring import Keyring
from ledger.store.subscription import Doorbell

START = datetime(2026, 1, 1, tzinfo=UTC)
MINUTES = 8
SENDERS = (Sender("MG1"), Sender("MG2"), Sender("*"))
STATUSES: list[tuple[Sender, Answer]] = [
    *((sender, status) for sender in SENDERS for status in ("in", "in", "out")),
    *((NO_SENDER, "unknown"), (NO_SENDER, "unknown")),
]
ASKED = (None, *SENDERS, Sender("MG-stranger"))
_numbers = count(1)


class Event(NamedTuple):
    """What was said, when, and in which minute it was recorded."""

    sender: Sender
    """Empty where the number changed hands."""
    status: Answer
    occurred: int
    recorded: int


class Life(NamedTuple):
    """What a number's erasures have left, oldest first, and what it said since."""

    left: list[tuple[Answer, int]]
    events: list[Event]


def minute(number: int) -> datetime:
    """A time."""
    return START + timedelta(minutes=number)


@st.composite
def lives(draw: st.DrawFn, events_min: int = 0, events_max: int = 6) -> Life:
    """Some of them erased, some never seen; some events come late."""
    minutes = st.integers(0, MINUTES)
    left: st.SearchStrategy[list[tuple[Answer, int]]] = st.lists(
        st.tuples(st.just("out") | st.just("unknown"), minutes), max_size=2
    )
    events = [
        Event(
            *draw(st.sampled_from(STATUSES)),
            draw(st.integers(0, recorded)),
            recorded,
        )
        for recorded in sorted(
            draw(st.lists(minutes, min_size=events_min, max_size=events_max))
        )
    ]
    return Life(draw(left), events)


class Ledger:
    """Lives that are put straight into the tables, and who answers about them."""

    def __init__(self, pool: Pool, dsn: str) -> None:
        given_settings = settings_for(dsn)
        bell = Doorbell(dsn, "nothing", poll_seconds=1)
        self.pool = pool
        self.serving = serving = Serving(pool)
        self.keyring = Keyring(pool, MASTERS)
        self.read_model = ReadModel(pool, serving, self.keyring, bell, given_settings)
        self.past = PastReader(serving, self.keyring, self.read_model, given_settings)
        self.checks = CheckReader(pool, self.keyring, self.read_model, given_settings)

    async def number_of(self, life: Life) -> PhoneNumber:
        """A new number with that life."""
        number = PhoneNumber(f"+1415{next(_numbers):07}")
        identity = await self.keyring.identity()
        erased = [
            (identity.subject_id(number, generation), status, minute(since), 1)
            for generation, (status, since) in enumerate(life.left)
        ]
        subject_id = identity.subject_id(number, len(erased))
        history = [
            (
                *(subject_id, position, position, event.sender, event.status),
                *("unknown", minute(event.occurred), minute(event.recorded)),
                *("import", "explicit", "cli"),
            )
            for position, event in enumerate(life.events, start=1)
        ]
        facts = NO_FACTS
        for position, event in enumerate(life.events, start=1):
            said = Fact(minute(event.occurred), Version(position), event.status)
            facts = with_fact(facts, event.sender, said)
        senders = [
            (
                *(subject_id, number, sender, fact.status, fact.occurred_at),
                *(fact.version, fact.version),
            )
            for sender, fact in settled(facts).items()
        ]
        async with self.pool.acquire() as connection:
            for table, rows in (
                ("erased_subjects", erased),
                ("consent_history_v1", history),
                ("phone_number_senders_v1", senders),
            ):
                await connection.copy_records_to_table(table, records=rows)
            if history:
                row = (subject_id, number, "in", START, len(history), len(history))
                await connection.copy_records_to_table(
                    "phone_numbers_v1", records=[(*row, START)]
                )
        return number

    async def check(
        self, numbers: list[PhoneNumber], question: CheckQuestion
    ) -> list[Said]:
        """The list's answers, in its order."""
        reading = await self.checks.read(numbers, question)
        return [reading.said[number] for number in numbers]


@pytest.fixture
def running(dsn: str) -> Iterator[tuple[asyncio.Runner, Ledger]]:
    """A loop of its own, since Hypothesis has none."""
    with asyncio.Runner() as runner:
        pool = runner.run(open_pool(dsn, settings_for(dsn), application="test"))
        runner.run(pool.__aenter__())
        ledger = Ledger(pool, dsn)
        runner.run(ledger.past.__aenter__())
        runner.run(ledger.read_model.__aenter__())
        yield runner, ledger
        runner.run(ledger.past.__aexit__(None, None, None))
        runner.run(ledger.read_model.__aexit__(None, None, None))
        runner.run(pool.__aexit__(None, None, None))


def test_a_list_is_answered_as_its_numbers_are_now(
    running: tuple[asyncio.Runner, Ledger],
) -> None:
    """For every sender, of whoever was erased, has returned or was never seen."""
    runner, ledger = running

    async def compare(some: list[Life]) -> None:
        numbers = [await ledger.number_of(life) for life in some]
        for sender in ASKED:
            answers = await ledger.check(numbers, CheckQuestion(sender))
            for number, said in zip(numbers, answers, strict=True):
                record = await ledger.read_model.find(number)
                if record is None:
                    assert (said.status, said.is_known) == ("unknown", False)
                elif sender is not None:
                    one = status_for_sender(record, sender)
                    assert (said.status, said.is_erased) == (one.status, one.erased)
                    assert one.since in {None, said.since}
                elif record.erased:
                    assert (said.status, said.is_erased) == (record.status, True)

    @settings(max_examples=60, database=None)
    @given(some=st.lists(lives(), min_size=1, max_size=4))
    def check(some: list[Life]) -> None:
        runner.run(compare(some))

    check()


def test_a_list_is_answered_as_its_numbers_are_at_a_time(
    running: tuple[asyncio.Runner, Ledger],
) -> None:
    """As of any time, as known at any, and the event that decided with it."""
    runner, ledger = running

    async def compare(some: list[Life], moments: Moments) -> None:
        numbers = [await ledger.number_of(life) for life in some]
        for sender in ASKED:
            answers = await ledger.check(numbers, CheckQuestion(sender, *moments))
            for number, said in zip(numbers, answers, strict=True):
                made = await past_record(ledger.past, number, moments, sender)
                one = PastRecord.model_validate_json(made)
                decided = one.decided_by
                assert said.status == one.status
                assert said.position == (decided and decided.position)
                assert said.since == (decided and decided.occurred_at)

    long = lives(31, 36)  # What is read in one go is 32 events.

    @settings(max_examples=60, database=None)
    @given(
        some=st.lists(lives() | long, min_size=1, max_size=4),
        as_of=st.integers(-1, MINUTES),
        known_at=st.none() | st.integers(-1, MINUTES),
    )
    def check(some: list[Life], as_of: int, known_at: int | None) -> None:
        known = None if known_at is None else minute(known_at)
        runner.run(compare(some, Moments(minute(as_of), known)))

    check()


def test_a_position_is_the_ledger_as_it_stood(
    running: tuple[asyncio.Runner, Ledger],
) -> None:
    """What came after it counts for nothing, so a long file is of one moment."""
    runner, ledger = running

    async def compare(life: Life, position: int) -> None:
        before = Life(life.left, life.events[:position])
        number, shorter = [await ledger.number_of(one) for one in (life, before)]
        identity = await ledger.keyring.identity()
        serving = ledger.serving
        for sender in ASKED:
            asked = CheckQuestion(sender)
            cut = await read_said(
                serving, identity, [number], asked, Position(position)
            )
            whole = await read_said(serving, identity, [shorter], asked)
            assert cut[number] == whole[shorter]

    @settings(max_examples=60, database=None)
    @given(life=lives(), position=st.integers(0, 6))
    def check(life: Life, position: int) -> None:
        runner.run(compare(life, position))

    check()
