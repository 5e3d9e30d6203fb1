"""What many numbers say, all at one position of the ledger.

Reads with a statement for each few hundred numbers and leaves the rest to the domain's
rules, as for one. Three subtle parts. Every statement of a list is of one snapshot, or
stops at one position, so no number is read later than another. Between statements the
process does other work: the same one answers webhooks. And one list at a time has a
connection, so that lists never take those that appends need.
"""

import asyncio
import itertools
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import asyncpg

from ledger.api.read_model import Past, ReadModel, left_by
from ledger.api.serving import Serving
from ledger.domain.consent import (
    NO_FACTS,
    Fact,
    Facts,
    answer_of,
    decisive_for,
    with_lapse,
)
from ledger.domain.ids import Answer, PhoneNumber, Position, Sender, SubjectId
from ledger.errors import StoreUnavailable, TryAgain
from ledger.moments import check_past
from ledger.settings import Settings
from ledger.store.database import Pool, translated
from ledger.store.identity import Identity
from ledger.store.keyring import Keyring
from ledger.store.statements import statement

_FIND_CHECKED = statement("ledger.api", "find_checked")
_FIND_CHECKED_AS_OF = statement("ledger.api", "find_checked_as_of")
_FIND_CHECKED_BY_STEPS = statement("ledger.api", "find_checked_by_steps")
_READ_CHECKPOINT = statement("ledger.api", "read_checkpoint")

LISTS_WAITING_MAX: Final = 16
"""Lists that wait for their turn in one process, each with all its numbers."""

NUMBERS_AT_ONCE: Final = 1_000
"""The numbers of one statement: some milliseconds of this process's time."""

_ALWAYS: Final = datetime.max.replace(tzinfo=UTC)
_EVERYWHERE: Final = Position(2**63 - 1)


class CheckQuestion(NamedTuple):
    """What is asked of every number of a list."""

    sender: Sender | None
    """None for every sender together."""
    as_of: datetime | None = None
    """None for now."""
    known_at: datetime | None = None
    """None for all that is known."""

    @property
    def projection(self) -> str:
        """Whose table has the answers."""
        return "phone_numbers" if self.as_of is None else "consent_history"


class Said(NamedTuple):
    """What a number says, and the event that decides."""

    status: Answer
    position: Position | None
    """Of the event that decides; None where there is none, or it was erased."""
    since: datetime | None
    """When that event occurred."""
    is_known: bool = True
    """Whether anything is known of the number."""
    is_erased: bool = False
    """Whether what it said before it was erased is all there is to decide."""


class Checkpoint(NamedTuple):
    """Where a projection and the ledger stand, by the database's clock."""

    reached: Position
    ledger_position: Position
    now: datetime


class Reading(NamedTuple):
    """What the numbers said, each once, at one position."""

    position: Position
    said: Mapping[PhoneNumber, Said]


_NOTHING_SAID: Final = Said("unknown", None, None, is_known=False)


_Asked = tuple[Sequence[PhoneNumber], Sequence[SubjectId]]
"""Some numbers, and as which subjects they are looked up."""


class _Read(NamedTuple):
    """Those, and their rows."""

    numbers: Sequence[PhoneNumber]
    ids: Sequence[SubjectId]
    rows: Sequence[Any]


class CheckReader:
    """Answers lists, one at a time."""

    def __init__(
        self, pool: Pool, keyring: Keyring, read_model: ReadModel, settings: Settings
    ) -> None:
        self._pool = pool
        self._keyring = keyring
        self._read_model = read_model
        self._seconds_max = settings.statement_timeout_seconds
        self._turn = asyncio.Semaphore(1)
        self._waiting = 0

    async def read(
        self, numbers: Sequence[PhoneNumber], question: CheckQuestion
    ) -> Reading:
        """What each of ``numbers`` says.

        Raises:
            FutureMoment: one of the two times has not come.
            NotYetProjected: the history has not reached what was known then.
            TryAgain, StoreUnavailable: it cannot be read now.
        """
        identity = await self._keyring.identity()
        async with self._turns():
            reading, missing = await self._snapshot(identity, numbers, question)
        if missing is None:
            return reading
        await self._read_model.wait_for(missing, question.projection)
        async with self._turns():
            # What has been recorded since was not known when it was asked.
            reading, _ = await self._snapshot(identity, numbers, question, missing)
        return reading

    @asynccontextmanager
    async def _turns(self) -> AsyncIterator[None]:
        if self._waiting >= LISTS_WAITING_MAX:
            raise TryAgain(f"{self._waiting} lists are waiting in this process")
        self._waiting += 1
        try:
            # Whoever waits longer than a statement may take is told so.
            with translated():
                async with asyncio.timeout(self._seconds_max), self._turn:
                    yield
        except asyncpg.InFailedSQLTransactionError as error:
            # The next snapshot reads the pointer again.
            raise StoreUnavailable("a version was dropped meanwhile") from error
        finally:
            self._waiting -= 1

    async def _snapshot(
        self,
        identity: Identity,
        numbers: Sequence[PhoneNumber],
        question: CheckQuestion,
        enough: Position | None = None,
    ) -> tuple[Reading, Position | None]:
        """The answers, or the position that has to be reached before there are any.

        ``enough`` is the position that was reached for it already.
        """
        async with (
            self._pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            serving = Serving(connection)
            stand = await read_checkpoint(serving, question.projection)
            check_times(question, stand.now)
            # What was known at a time is exact once it has all been read.
            is_behind = stand.reached < (enough or stand.ledger_position)
            reading = Reading(stand.reached, {})
            if question.known_at is not None and is_behind:
                return reading, stand.ledger_position
            said = await read_said(serving, identity, numbers, question)
        return Reading(stand.reached, said), None


async def read_checkpoint(serving: Serving, projection: str) -> Checkpoint:
    """Where a projection and the ledger stand now."""
    version = await serving.version_of(projection)
    return Checkpoint(*(await serving.fetch(_READ_CHECKPOINT, projection, version))[0])


def check_times(question: CheckQuestion, now: datetime) -> None:
    """Refuse a question about the future.

    Raises:
        FutureMoment: one of the two times has not come.
    """
    check_past(question.as_of or now, now)
    check_past(question.known_at or now, now)


async def read_said(
    serving: Serving,
    identity: Identity,
    numbers: Iterable[PhoneNumber],
    question: CheckQuestion,
    position: Position | None = None,
) -> dict[PhoneNumber, Said]:
    """What each of some numbers said.

    With a ``position`` it is read from the history, of which nothing after that
    position counts: the same however often and however late it is asked, but for
    numbers that are erased meanwhile.

    A number stands for one subject after another: where one was erased, the next is
    looked up, until there is one that was not.
    """
    said: dict[PhoneNumber, Said] = {}
    left: dict[PhoneNumber, Past] = {}
    wanted = list(dict.fromkeys(numbers))
    for generation in itertools.count():
        queries = _queries(identity, wanted, generation)
        wanted = []
        async with aclosing(_reads(serving, queries, question, position)) as reads:
            async for read in reads:
                wanted += _fold(said, left, read, question)
        if not wanted:
            break
    return said


def _queries(
    identity: Identity, numbers: Sequence[PhoneNumber], generation: int
) -> Iterator[_Asked]:
    """The numbers by the few, and which subjects they stand for."""
    for start in range(0, len(numbers), NUMBERS_AT_ONCE):
        chunk = numbers[start : start + NUMBERS_AT_ONCE]
        yield chunk, [identity.subject_id(number, generation) for number in chunk]


async def _reads(
    serving: Serving,
    queries: Iterator[_Asked],
    question: CheckQuestion,
    position: Position | None,
) -> AsyncGenerator[_Read]:
    """What the queries find; the database does the next while one is worked on."""
    running: asyncio.Task[Sequence[Any]] | None = None
    before: _Asked | None = None
    try:
        for numbers, ids in queries:
            rows = await running if running else []
            running = asyncio.create_task(_rows(serving, ids, question, position))
            await asyncio.sleep(0)  # It is sent.
            if before:
                yield _Read(*before, rows)
            before = numbers, ids
        if before and running:
            yield _Read(*before, await running)
    finally:
        # A connection does one thing at a time, and the transaction has an end to do.
        if running and not running.done():
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def _rows(
    serving: Serving,
    ids: Sequence[SubjectId],
    question: CheckQuestion,
    position: Position | None,
) -> Sequence[Any]:
    """What some subjects said, a row a sender; and who was erased."""
    if question.as_of is None and position is None:
        return await serving.fetch(_FIND_CHECKED, ids)
    as_of, known_at = question.as_of or _ALWAYS, question.known_at or _ALWAYS
    asked = (as_of, known_at, _EVERYWHERE if position is None else position)
    rows = await serving.fetch(_FIND_CHECKED_AS_OF, ids, *asked)
    long = {subject_id for subject_id, _, status, _, _ in rows if status is None}
    if not long:
        return rows
    steps = await serving.fetch(_FIND_CHECKED_BY_STEPS, list(long), *asked)
    return [row for row in rows if row[0] not in long] + steps


def _fold(
    said: dict[PhoneNumber, Said],
    left: dict[PhoneNumber, Past],
    read: _Read,
    question: CheckQuestion,
) -> list[PhoneNumber]:
    """Add what was read to what is said; the numbers whose subject was erased."""
    facts: dict[SubjectId, dict[Sender, Fact]] = {}
    erased: dict[SubjectId, tuple[Position, Answer, datetime]] = {}
    for subject_id, sender, status, since, position in read.rows:
        if sender is None:
            erased[subject_id] = (position, status, since)
        else:
            # Of one subject, positions are in the order of versions.
            by_sender = facts.setdefault(subject_id, {})
            by_sender[sender] = Fact(since, position, status)
    again = []
    for number, subject_id in zip(read.numbers, read.ids, strict=True):
        if subject_id in erased:
            left[number] = left_by(left.get(number), *erased[subject_id])
            again.append(number)
        else:
            found = facts.get(subject_id)
            said[number] = _said(found, left.get(number), question)
    return again


def _said(facts: Facts | None, left: Past | None, question: CheckQuestion) -> Said:
    if facts is None and left is None:
        return _NOTHING_SAID
    is_suppressed = left is not None and _was_out(left, question.as_of)
    fact = decisive_for(with_lapse(facts or NO_FACTS), question.sender)
    status = answer_of(fact, suppressed=is_suppressed)
    if fact is None or fact.status != status:
        is_erased = left is not None and (is_suppressed or not facts)
        return Said(status, None, None, is_erased=is_erased)
    position = Position(fact.version)
    return Said(status, position, fact.occurred_at)


def _was_out(left: Past, as_of: datetime | None) -> bool:
    return left.since is not None and (as_of is None or left.since <= as_of)
