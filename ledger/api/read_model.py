"""Reads the tables that the projections fill.

Never writes and never computes a status other than by the domain's rules. Two subtle
parts. Records asked for at the same moment are read in one query, which on a busy
service is several times cheaper than one by one. And a number stands for one subject
after another: where one was erased, the next is looked up, until there is one that was
not; what the erasures left stands wherever that one has said nothing.
"""

import asyncio
import itertools
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, NamedTuple, Self

import asyncpg

from ledger.api.models import (
    HistoryEvent,
    PhoneNumberRecord,
    ProjectionState,
    SenderStatus,
)
from ledger.api.serving import Serving
from ledger.domain.ids import (
    EVERY_SENDER,
    NO_SENDER,
    Answer,
    PhoneNumber,
    Position,
    SubjectId,
    Version,
)
from ledger.errors import NotYetProjected
from ledger.settings import Settings
from ledger.store.batcher import Batcher, Promise
from ledger.store.database import Connection, Pool, translated
from ledger.store.keyring import Keyring
from ledger.store.statements import statement
from ledger.store.subscription import Doorbell

_FIND_SUBJECTS = statement("ledger.api", "find_subjects")
_READ_HISTORY = statement("ledger.api", "read_history")
_READ_PROJECTIONS = statement("ledger.api", "read_projections")
_READ_REBUILDS = statement("ledger.api", "read_rebuilds")

RUNNING_SECONDS_MAX = 15.0
"""A projection whose worker has been silent for longer is not running."""

_READS_AT_ONCE = 2
_READ_BATCH_MAX = 500
_READS_WAITING_MAX = 10_000


class Past(NamedTuple):
    """What the erasures of a number have left."""

    position: Position
    """Of the last of them."""
    status: Answer
    """``out`` where the number was out before any of them."""
    since: datetime | None
    """When what makes it ``out`` occurred."""


class Rebuild(NamedTuple):
    """How far a version is that is being built."""

    name: str
    version: int
    phase: str
    events_done: int
    events_total: int
    seconds: float
    """Since it was begun."""
    is_at_work: bool
    """Whether a process builds it, and was not killed."""


async def read_rebuilds(connection: Pool | Connection) -> list[Rebuild]:
    """The versions that are being built."""
    with translated():
        return [Rebuild(*row) for row in await connection.fetch(_READ_REBUILDS)]


class Told(NamedTuple):
    """A page of what the subject, that a number now stands for, has said."""

    subject_id: SubjectId
    events: list[HistoryEvent]
    erased: bool
    """Whether it has said nothing, and one before it was erased."""


class ReadModel:
    """The current-status table and the history. Use as ``async with``."""

    def __init__(
        self,
        pool: Pool,
        serving: Serving,
        keyring: Keyring,
        bell: Doorbell,
        settings: Settings,
    ) -> None:
        self._pool = pool
        self._serving = serving
        self._keyring = keyring
        self._bell = bell
        self._wait_seconds_max = settings.wait_seconds_max
        self._finder: Batcher[PhoneNumber, PhoneNumberRecord | None] = Batcher(
            self._find,
            batch_max=_READ_BATCH_MAX,
            queue_max=_READS_WAITING_MAX,
            timeout_seconds=settings.statement_timeout_seconds,
            at_once=_READS_AT_ONCE,
        )

    async def __aenter__(self) -> Self:
        """Start answering."""
        await self._finder.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Answer what was asked, then stop."""
        await self._finder.__aexit__(kind, error, trace)

    async def find(self, phone_number: PhoneNumber) -> PhoneNumberRecord | None:
        """What a number says now; None if it was never seen."""
        return await self._finder.submit(phone_number)

    def put(
        self, phone_number: PhoneNumber, promise: Promise[PhoneNumberRecord | None]
    ) -> None:
        """As ``find``, for whoever is called with the record.

        Raises:
            QueueFull: too many are asked for.
        """
        self._finder.put(phone_number, promise)

    async def history(
        self, phone_number: PhoneNumber, *, after: Position, limit: int
    ) -> Told:
        """Events of a number, oldest first, after a position."""
        identity = await self._keyring.identity()
        for generation in itertools.count():
            subject_id = identity.subject_id(phone_number, generation)
            with translated():
                rows = await self._serving.fetch(
                    _READ_HISTORY, subject_id, after, limit
                )
            if not rows[0]["erased"]:
                break
        events = [_event(row) for row in rows if row["position"]]
        is_erased = generation > 0 and after == 0 and not events
        return Told(subject_id, events, is_erased)

    async def projections(self) -> tuple[Position, list[ProjectionState]]:
        """The ledger's position, and where each projection stands."""
        with translated():
            rows = await self._pool.fetch(_READ_PROJECTIONS)
        states = [_state(*row) for row in rows if row["name"] is not None]
        return Position(rows[0]["ledger_position"]), states

    async def rebuilds(self) -> list[Rebuild]:
        """The versions that are being built."""
        return await read_rebuilds(self._pool)

    async def wait_for(self, position: Position, projection: str) -> None:
        """Return once ``projection`` has reached ``position``.

        Raises:
            NotYetProjected: it has not within LEDGER_WAIT_SECONDS_MAX.
            NotServed: no version of it can be read.
        """
        try:
            async with asyncio.timeout(self._wait_seconds_max):
                rung = self._bell.count
                while await self.reached(projection) < position:
                    await self._bell.wait_after(rung)
                    rung = self._bell.count
        except TimeoutError:
            message = f"{projection} has not reached position {position}"
            raise NotYetProjected(message) from None

    async def answering(self) -> Mapping[str, int]:
        """The version of each projection from which this process answers.

        Raises:
            NotServed, StoreUnavailable: as ``Serving.versions``.
        """
        return dict(await self._serving.versions())

    async def reached(self, projection: str) -> Position:
        """How far the version is from which this process answers."""
        version = await self._serving.version_of(projection)
        _, states = await self.projections()
        for state in states:
            if (state.name, state.version) == (projection, version):
                return Position(state.position)
        # It was dropped: whoever waits looks again, and at another.
        self._serving.forget()
        return Position(0)

    async def _find(
        self, numbers: Sequence[PhoneNumber]
    ) -> list[PhoneNumberRecord | None]:
        identity = await self._keyring.identity()
        records: dict[PhoneNumber, PhoneNumberRecord] = {}
        past: dict[PhoneNumber, Past] = {}
        wanted = set(numbers)
        for generation in itertools.count():
            ids = {identity.subject_id(n, generation): n for n in wanted}
            with translated():
                rows = await self._serving.fetch(_FIND_SUBJECTS, list(ids))
            wanted = set()
            for subject_id, erased_at, status, since, *record in rows:
                number = ids[subject_id]
                if erased_at is not None:
                    wanted.add(number)
                    past[number] = left_by(past.get(number), erased_at, status, since)
                elif record[0] is not None:
                    _collect(records, number, record)
            if not wanted:
                break
        return [_answer(n, records.get(n), past.get(n)) for n in numbers]


def left_by(
    past: Past | None, position: Position, status: Answer, since: datetime
) -> Past:
    """What is left after one more erasure."""
    if status == "out":
        return Past(position, "out", since)
    return past._replace(position=position) if past else Past(position, status, None)


def _collect(
    records: dict[PhoneNumber, PhoneNumberRecord],
    number: PhoneNumber,
    row: Sequence[Any],
) -> None:
    """One more sender of a number."""
    _, status, since, position, version, *said = row
    record = records.get(number)
    if record is None:
        record = records[number] = PhoneNumberRecord(
            phone_number=number,
            status=status,
            since=since,
            position=position,
            version=version,
            senders=[],
        )
    if said[0] != NO_SENDER:
        record.senders.append(_sender(*said))


def _event(row: asyncpg.Record) -> HistoryEvent:
    """An event; a lapse is of every sender."""
    return HistoryEvent(**{**row, "sender": row["sender"] or EVERY_SENDER})


def _answer(
    number: PhoneNumber, record: PhoneNumberRecord | None, past: Past | None
) -> PhoneNumberRecord | None:
    if past is None:
        return record
    if record is None:
        return _erased(number, past)
    update: dict[str, object] = {"suppressed": past.status == "out"}
    if past.status == "out" and record.status == "unknown":
        # What was said since has lapsed, and what was said before stands.
        update |= {"status": "out", "since": past.since}
    return record.model_copy(update=update)


def _erased(number: PhoneNumber, past: Past) -> PhoneNumberRecord:
    """Version 0, as of a number never seen: what comes next begins a new subject."""
    return PhoneNumberRecord(
        phone_number=number,
        status=past.status,
        since=past.since,
        position=past.position,
        version=Version(0),
        senders=[],
        erased=True,
        suppressed=past.status == "out",
    )


def _sender(
    sender: str, status: Answer, since: datetime, position: int
) -> SenderStatus:
    return SenderStatus(sender=sender, status=status, since=since, position=position)


def _state(  # noqa: PLR0913, PLR0917 - the columns of its row
    ledger_position: int,
    name: str,
    version: int,
    serving: bool,  # noqa: FBT001
    position: int,
    stopped_reason: str | None,
    idle_seconds: float,
) -> ProjectionState:
    return ProjectionState(
        name=name,
        version=version,
        serving=serving,
        position=position,
        lag_events=max(0, ledger_position - position),
        running=stopped_reason is None and idle_seconds <= RUNNING_SECONDS_MAX,
        stopped_reason=stopped_reason,
    )
