"""What numbers said at a time, by what the ledger knew at another.

Reads the history by one step of an index for each sender, and leaves the rest to the
domain's rules, as the table of now does. Never folds a whole history. Three subtle
parts. Questions asked at the same moment are read in one query. Nothing is known of the
future, so the database says what time it is. And what was known at a time is exact only
once the history has reached all that had been recorded by then: it is waited for.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Any, Final, NamedTuple, Self, TypeGuard

import asyncpg

from ledger.api.read_model import Past, ReadModel, left_by
from ledger.api.serving import Serving
from ledger.domain.classify import MatchedBy
from ledger.domain.consent import (
    Fact,
    Facts,
    answer_of,
    decisive_for,
    with_fact,
    with_lapse,
)
from ledger.domain.ids import (
    Answer,
    PhoneNumber,
    Position,
    Sender,
    Version,
)
from ledger.domain.signals import LapseReason, LapseSource, Source
from ledger.errors import FutureMoment
from ledger.moments import check_past
from ledger.settings import Settings
from ledger.store.batcher import Batcher, Promise
from ledger.store.database import translated
from ledger.store.keyring import Keyring
from ledger.store.statements import statement

_FIND_AS_OF = statement("ledger.api", "find_as_of")
_READ_CLOCK = statement("ledger.api", "read_clock")

# Where a row has the fields of ``Said``: of what held, of what the same sender was told
# next, and of what said ``out`` next.
_HELD: Final = slice(7, 14)
_NEXT: Final = slice(14, 21)
_NEXT_OUT: Final = slice(21, 28)

_READS_AT_ONCE: Final = 2
_READ_BATCH_MAX: Final = 500
_READS_WAITING_MAX: Final = 10_000


class Question(NamedTuple):
    """Whose status, at which time, known when; ``known_at`` None for now."""

    number: PhoneNumber
    as_of: datetime
    known_at: datetime | None = None
    sender: Sender | None = None
    """None for every sender together."""


class Said(NamedTuple):
    """One event, as far as it decides; ordered by when it was so."""

    occurred_at: datetime
    position: Position
    sender: Sender
    """``NO_SENDER`` of a lapse."""
    status: Answer
    recorded_at: datetime
    source: Source | LapseSource
    matched_by: MatchedBy | LapseReason

    @property
    def fact(self) -> Fact:
        """What the domain's rules see of it."""
        # Of one subject, positions are in the order of versions.
        return Fact(self.occurred_at, Version(self.position), self.status)


class Stand(NamedTuple):
    """Where the history and the ledger stood, and when, as it was read."""

    reached: Position
    ledger_position: Position
    now: datetime


@dataclass(slots=True)
class Told:
    """What a subject had said, sender by sender, and what it said next."""

    stand: Stand
    left: Past | None
    """What the erasures of the number have left, where there were any."""
    erased: bool = False
    """Whether the subject itself was erased."""
    newest: dict[Sender, Fact] = field(default_factory=dict)
    """The newest that each sender was told."""
    held: dict[Version, tuple[Any, ...]] = field(default_factory=dict)
    """The fields of their events: of all those senders, one is asked for."""
    following: list[Said] = field(default_factory=list)
    """The next of every sender that there ever was, and the next that says out."""

    @property
    def facts(self) -> Facts:
        """What the domain's rules decide on."""
        return with_lapse(self.newest)


class PastReader:
    """Answers questions about the past. Use as ``async with``."""

    def __init__(
        self,
        serving: Serving,
        keyring: Keyring,
        read_model: ReadModel,
        settings: Settings,
    ) -> None:
        self._serving = serving
        self._keyring = keyring
        self._read_model = read_model
        self._batcher: Batcher[Question, Told] = Batcher(
            self._find,
            batch_max=_READ_BATCH_MAX,
            queue_max=_READS_WAITING_MAX,
            timeout_seconds=settings.statement_timeout_seconds,
            at_once=_READS_AT_ONCE,
        )

    async def __aenter__(self) -> Self:
        """Start answering."""
        await self._batcher.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Answer what was asked, then stop."""
        await self._batcher.__aexit__(kind, error, trace)

    async def ask(self, question: Question) -> Told:
        """What the number had said; nothing, of one that was never seen.

        Raises:
            FutureMoment: one of the two times has not come.
            NotYetProjected: the history has not reached what was known then.
            StoreUnavailable, QueueFull: it cannot be read now.
        """
        told = await self._batcher.submit(question)
        if is_early(question, told):
            position = told.stand.ledger_position
            await self._read_model.wait_for(position, "consent_history")
            told = await self._batcher.submit(question)
        return told

    def put(self, question: Question, promise: Promise[Told]) -> None:
        """As ``ask``, for whoever is called with what was told, early or not.

        Raises:
            QueueFull: too many are asked for.
        """
        self._batcher.put(question, promise)

    async def check(self, as_of: datetime, known_at: datetime | None) -> None:
        """Refuse what is in the future, by the database's clock.

        Raises:
            FutureMoment: one of the two times has not come.
            StoreUnavailable: the clock cannot be read now.
        """
        with translated():
            now = await self._serving.fetchval(_READ_CLOCK)
        check_past(as_of, now)
        check_past(known_at or now, now)

    async def _find(self, questions: Sequence[Question]) -> list[Told | Exception]:
        """The answers, in order; a question about the future has an error for its own.

        A number stands for one subject after another: where one was erased, the next is
        looked up, until there is one that was not.
        """
        answers = await self._read(questions, [None] * len(questions))
        for generation in itertools.count(1):
            erased = {i: t.left for i, t in enumerate(answers) if _is_erased(t)}
            if not erased:
                break
            again = [questions[i] for i in erased]
            successors = await self._read(again, list(erased.values()), generation)
            for i, told in zip(erased, successors, strict=True):
                answers[i] = told
        return answers

    async def _read(
        self,
        questions: Sequence[Question],
        left: Sequence[Past | None],
        generation: int = 0,
    ) -> list[Told | Exception]:
        """What one generation had said, and what is left of those before it."""
        identity = await self._keyring.identity()
        ids = [identity.subject_id(q.number, generation) for q in questions]
        as_of = [question.as_of for question in questions]
        known_at = [question.known_at for question in questions]
        with translated():
            rows = await self._serving.fetch(_FIND_AS_OF, ids, as_of, known_at)
        stand = next(Stand(*row[4:7]) for row in rows if row[0] == 1)
        told = [Told(stand, one) for one in left]
        for row in rows:
            _collect(told[row[0] - 1], row)
        return [_checked(*each) for each in zip(told, questions, strict=True)]


def is_early(question: Question, told: Told) -> bool:
    """Whether the history had not reached what may have been known by then."""
    stand = told.stand
    return question.known_at is not None and stand.reached < stand.ledger_position


def status_at(told: Told, decisive: Fact | None, at: datetime) -> Answer:
    """What the fact that decides says, and erasures before it."""
    left = told.left
    is_suppressed = left is not None and left.since is not None and left.since <= at
    return answer_of(decisive, suppressed=is_suppressed)


def decided_by(told: Told, decisive: Fact | None, status: Answer) -> Said | None:
    """The event that decides on ``status``; None where none does, or it was erased."""
    if decisive is None or decisive.status != status:
        return None
    return Said(*told.held[decisive.version])


def ended_by(told: Told, decisive: Fact | None, sender: Sender | None) -> Said | None:
    """The next event after which another one decides; None if there is none yet.

    What others are told matters only where it says ``out``, or is newer and nobody is
    out; so the next of each sender is enough, with the next that says ``out``. Until
    then all of them are only told ``in``, and once is as good as often.
    """
    facts: Facts = told.facts
    for said in sorted(told.following):
        facts = with_fact(facts, said.sender, said.fact)
        after = decisive_for(facts, sender)
        if after is not None and after != decisive:
            return said
    return None


def _collect(told: Told, row: asyncpg.Record) -> None:
    """One more sender of a subject, or that it was erased, or nothing."""
    if row[1] is not None:
        told.erased = True
        told.left = left_by(told.left, *row[1:4])
    held = row[_HELD]
    if (position := held[1]) is not None:
        # Of one subject, positions are in the order of versions.
        told.newest[held[2]] = Fact(held[0], position, held[3])
        told.held[position] = held
    for event in (row[_NEXT], row[_NEXT_OUT]):
        if event[1] is not None:
            told.following.append(Said(*event))


def _checked(told: Told, question: Question) -> Told | Exception:
    try:
        check_past(question.as_of, told.stand.now)
        if question.known_at is not None:
            check_past(question.known_at, told.stand.now)
    except FutureMoment as error:
        return error
    return told


def _is_erased(told: Told | Exception) -> TypeGuard[Told]:
    return isinstance(told, Told) and told.erased
