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
from ledger.api.serving import Serving
from ledger.domain.ids import Answer, PhoneNumber, Sender
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
    """Empty where the number changed hands."""
    status: Answer
    occurred: int
    recorded: int


class Placed(NamedTuple):
    """An event and its place, in the order in which things were so."""

    occurred: int
    position: int
    said: Said


def minute(number: int) -> datetime:
    """A time."""
    return START + timedelta(minutes=number)


@st.composite
def histories(draw: st.DrawFn) -> list[Said]:
    """Events in the order of their recording; some of them come late."""
    minutes = draw(st.lists(st.integers(0, MINUTES), max_size=10).map(sorted))
    statuses: list[tuple[str, Answer]] = [
        *((sender, status) for sender in SENDERS for status in ("in", "in", "out")),
        *(("", "unknown"), ("", "unknown")),
    ]
    return [
        Said(
            *draw(st.sampled_from(statuses)),
            draw(st.just(recorded) | st.integers(0, recorded)),
            recorded,
        )
        for recorded in minutes
    ]


def naive_newest(events: list[Placed], sender: str) -> Placed | None:
    """The newest that was said to a sender or to all."""
    return next((e for e in reversed(events) if e.said.sender in {sender, "*"}), None)


def naive_decides(events: list[Placed], sender: str | None) -> Placed | None:
    """Rule 5 of the design, over events in the order in which they were so.

    What was in before the number changed hands decides nothing: that it did, does.
    """
    hands = [event for event in events if not event.said.sender]
    said = [event for event in events if event.said.sender]
    newest = {naive_newest(said, event.said.sender) for event in said} - {None}
    outs = [event for event in newest if event and event.said.status == "out"]
    ins = [event for event in newest if event and stands(event, hands)]
    places = [events.index(event) for event in outs or ins]
    decides = events[max(places)] if places else (hands[-1] if newest else None)
    if sender is None:
        return decides
    own = naive_newest(said, sender)
    if own and (own.said.status == "out" or stands(own, hands)):
        return own
    return decides if outs else own and hands[-1]


def stands(event: Placed, hands: list[Placed]) -> bool:
    """Whether it is an ``in``, and the number has not changed hands since."""
    return event.said.status == "in" and not any(hand > event for hand in hands)


def naive(
    history: list[Said], as_of: int, known_at: int | None, sender: str | None
) -> tuple[Answer, int | None, int | None]:
    """The status, and the positions of what decided it and what decided next."""
    known = sorted(
        Placed(said.occurred, position, said)
        for position, said in enumerate(history, start=1)
        if known_at is None or said.recorded <= known_at
    )
    before = [event for event in known if event.occurred <= as_of]
    decided = naive_decides(before, sender)
    status: Answer = decided.said.status if decided else "unknown"
    for event in known[len(before) :]:
        before.append(event)
        after = naive_decides(before, sender)
        if after is not None and after != decided:
            return status, decided and decided.position, event.position
    return status, decided and decided.position, None


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
        body = self._runner.run(past_record(self._reader, number, moments, asked))
        return PastRecord.model_validate_json(body)

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
        serving = Serving(pool)
        read_model = ReadModel(pool, serving, keyring, bell, given_settings)
        reader = PastReader(serving, keyring, read_model, given_settings)
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
            events = (answer.decided_by, answer.ended_by)
            positions = (event and event.position for event in events)
            said = (answer.status, *positions)
            assert said == naive(history, as_of, known_at, sender), sender

    check()
