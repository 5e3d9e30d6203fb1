"""What held at a time, as known at another, is what a fold of the events says.

The naive fold is the rule read literally: of the events that were recorded by then, in
the order of (occurred at, position), those up to the time. It shares no line with the
index, nor with ``ledger.domain.consent``.
"""

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

from ledger.api.models import PastRecord
from ledger.api.past import PastReader
from ledger.api.point_in_time import Moments, past_record
from ledger.api.read_model import ReadModel
from ledger.domain.ids import Answer, PhoneNumber, Sender, Status
from ledger.store.database import Pool, open_pool
from ledger.store.keyring import Keyring
from ledger.store.subscription import Doorbell

START = datetime(2026, 1, 1, tzinfo=UTC)
MINUTES = 12
SENDERS = ("MG1", "MG2", "*")
ASKED = (None, *SENDERS, "MG-stranger")
_numbers = count(1)


class Said(NamedTuple):
    """An event: what was said, when, and in which minute it was recorded."""

    sender: str
    status: Status
    occurred: int
    recorded: int


def minute(number: int) -> datetime:
    """A time."""
    return START + timedelta(minutes=number)


@st.composite
def histories(draw: st.DrawFn) -> list[Said]:
    """Events in the order of their recording; some of them come late."""
    minutes = draw(st.lists(st.integers(0, MINUTES), max_size=10).map(sorted))
    return [
        Said(
            draw(st.sampled_from(SENDERS)),
            draw(st.sampled_from(("in", "out"))),
            draw(st.just(recorded) | st.integers(0, recorded)),
            recorded,
        )
        for recorded in minutes
    ]


def naive_status(events: list[Said], sender: str | None) -> Answer:
    """Rule 5 of the design, over events in the order in which they were so."""
    newest: dict[str, Status] = {}
    for event in events:
        if event.sender == "*":
            newest = dict.fromkeys(newest, event.status)
        newest[event.sender] = event.status
    statuses = set(newest.values())
    overall: Answer = "out" if "out" in statuses else "in" if statuses else "unknown"
    if sender is None:
        return overall
    if (own := newest.get(sender, newest.get("*"))) is not None:
        return own
    return "out" if overall == "out" else "unknown"


def naive(
    history: list[Said], as_of: int, known_at: int | None, sender: str | None
) -> tuple[Answer, int | None]:
    """The status, and the position of the next event after which it was another."""
    known = [
        (event.occurred, position, event)
        for position, event in enumerate(history, start=1)
        if known_at is None or event.recorded <= known_at
    ]
    before = [event for occurred, _, event in sorted(known) if occurred <= as_of]
    status = naive_status(before, sender)
    for occurred, position, event in sorted(known):
        if occurred > as_of:
            before.append(event)
            if naive_status(before, sender) != status:
                return status, position
    return status, None


class Asker:
    """The API's answers, over histories that are put straight into the table."""

    def __init__(self, runner: asyncio.Runner, pool: Pool, reader: PastReader) -> None:
        self._runner = runner
        self._pool = pool
        self._reader = reader
        self._keyring = Keyring(pool, MASTERS)

    def number_with(self, history: list[Said]) -> PhoneNumber:
        """A new number, of which just this is known."""
        return self._runner.run(self._number_with(history))

    def ask(
        self, number: PhoneNumber, as_of: int, known_at: int | None, sender: str | None
    ) -> PastRecord:
        """What the API answers."""
        known = None if known_at is None else minute(known_at)
        moments = Moments(minute(as_of), known)
        asked = None if sender is None else Sender(sender)
        return self._runner.run(past_record(self._reader, number, moments, asked))

    async def _number_with(self, history: list[Said]) -> PhoneNumber:
        number = PhoneNumber(f"+1415{next(_numbers):07}")
        identity = await self._keyring.identity()
        subject_id = identity.subject_id(number)
        rows = [
            (
                subject_id,
                position,
                position,
                event.sender,
                event.status,
                "unknown",
                minute(event.occurred),
                minute(event.recorded),
                "import",
                "explicit",
                "cli",
            )
            for position, event in enumerate(history, start=1)
        ]
        async with self._pool.acquire() as connection:
            await connection.copy_records_to_table("consent_history_v1", records=rows)
        return number


@pytest.fixture
def asker(dsn: str) -> Iterator[Asker]:
    """Who asks, with a loop of its own, since Hypothesis has none."""
    given_settings = settings_for(dsn)
    with asyncio.Runner() as runner:
        pool = runner.run(open_pool(dsn, given_settings, application="test"))
        keyring = Keyring(pool, MASTERS)
        bell = Doorbell(dsn, "nothing", poll_seconds=1)
        read_model = ReadModel(pool, keyring, bell, given_settings)
        reader = PastReader(pool, keyring, read_model, given_settings)
        runner.run(pool.__aenter__())
        runner.run(reader.__aenter__())
        yield Asker(runner, pool, reader)
        runner.run(reader.__aexit__(None, None, None))
        runner.run(pool.__aexit__(None, None, None))


def test_the_answer_is_the_fold(asker: Asker) -> None:
    """Whatever was said, in whatever order it came, and whichever times are asked."""

    @settings(max_examples=150, database=None)
    @given(
        history=histories(),
        as_of=st.integers(-1, MINUTES),
        known_at=st.none() | st.integers(-1, MINUTES),
    )
    def check(history: list[Said], as_of: int, known_at: int | None) -> None:
        number = asker.number_with(history)
        for sender in ASKED:
            answer = asker.ask(number, as_of, known_at, sender)
            ended_by = answer.ended_by.position if answer.ended_by else None
            said = (answer.status, ended_by)
            assert said == naive(history, as_of, known_at, sender), sender

    check()
