"""Brings Twilio up to what the ledger says, and keeps how far that has come.

Two notes are kept in tables, since Twilio cannot be asked: what it was told last of
each person and sender, and up to which position of the ledger everybody was looked at.
The second moves only once the first is written. So a kill between a call and its note
tells Twilio the same again, which changes nothing; and what it has refused is found by
its note, tried again each time, and holds nobody back.

The subtle part is a STOP that reaches Twilio while an ``in`` is on its way there. The
person's stream is read again just before the call; and after it everything is gone
through until the ledger has nothing newer, so that the STOP, which is in the ledger by
then, is told after it.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from ledger.command_handler import CommandHandler
from ledger.domain.consent import Subject, evolve, nobody
from ledger.domain.events import ConsentChanged, ConsentLapsed, LedgerEvent
from ledger.domain.ids import PhoneNumber, Position, Sender, Status, SubjectId, Version
from ledger.errors import PushRunning
from ledger.pushing.wishes import Told, Why, Wish, wishes_of
from ledger.store.codec import RecordedEvent
from ledger.store.database import Connection, Pool, translated
from ledger.store.event_store import EventStore
from ledger.store.keyring import Keyring
from ledger.store.statements import statement
from ledger.twilio.consents import ITEMS_MAX, Consents, Results

_LOCK: Final = statement("ledger.pushing", "lock_push")
_UNLOCK: Final = statement("ledger.pushing", "unlock_push")
_READ: Final = statement("ledger.pushing", "read_push")
_SAVE: Final = statement("ledger.pushing", "save_push")
_READ_PUSHED: Final = statement("ledger.pushing", "read_pushed")
_READ_REFUSED: Final = statement("ledger.pushing", "read_refused")
_SAVE_PUSHED: Final = statement("ledger.pushing", "save_pushed")
_FORGET_REFUSED: Final = statement("ledger.pushing", "forget_refused")
_START: Final = Position(0)
_EVENTS_AT_ONCE: Final = 5_000
_PEOPLE_AT_ONCE: Final = 500


@dataclass(slots=True)
class Pushed:
    """What came of a run."""

    told: Counter[Status] = field(default_factory=Counter)
    refused: Counter[int] = field(default_factory=Counter)
    """By Twilio's code."""
    held: Counter[Why] = field(default_factory=Counter)
    unchanged: int = 0
    position: Position = _START
    """Everything up to here was looked at."""


class _Stopping(Exception):
    """Somebody has pressed Ctrl-C."""


class _Known(NamedTuple):
    """What Twilio was told last."""

    status: Status
    version: Version
    error_code: int | None


_Key = tuple[SubjectId, Sender]


class Pushes:
    """Pushes for one account; ``consents`` None for a dry run."""

    def __init__(  # noqa: PLR0913 - what a push is made of
        self,
        pool: Pool,
        store: EventStore,
        keyring: Keyring,
        handler: CommandHandler,
        *,
        account_sid: str,
        senders: Sequence[Told],
        consents: Consents | None,
    ) -> None:
        self.pushed = Pushed()
        self._pool = pool
        self._store = store
        self._keyring = keyring
        self._handler = handler
        self._account_sid = account_sid
        self._senders = senders
        self._consents = consents
        self._is_stopping: Callable[[], bool] = bool

    async def run(
        self,
        advance: Callable[[int], None] = lambda _: None,
        is_stopping: Callable[[], bool] = lambda: False,
        *,
        everybody: bool = False,
    ) -> bool:
        """Push what has changed since the last run; whether it came to the end.

        With ``everybody``, whoever there is is looked at again.

        Raises:
            PushRunning: another process pushes for this account.
            TwilioRefused, TwilioUnavailable: Twilio does not take it.
            StoreUnavailable: the database cannot be used now.
        """
        self._is_stopping = is_stopping
        async with self._alone():
            after = _START if everybody else await self._begin()
            advance(after)
            try:
                await self._people(await self._refused())
                while events := await self._store.read_after(after, _EVENTS_AT_ONCE):
                    await self._people(_touched(events))
                    advance(events[-1].position - after)
                    after = events[-1].position
                    await self._save(after)
            except _Stopping:
                return False
            await self._save(after)
            return True

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        if self._consents is None:
            yield
            return
        async with self._pool.acquire() as connection:
            if not await self._locked(connection):
                raise PushRunning("one at a time tells Twilio: try again later")
            try:
                yield
            finally:
                await connection.execute(_UNLOCK, self._account_sid)

    async def _locked(self, connection: Connection) -> bool:
        with translated():
            return bool(await connection.fetchval(_LOCK, self._account_sid))

    async def _begin(self) -> Position:
        """After which position to look; 0 where there is a sender that is new."""
        with translated():
            row = await self._pool.fetchrow(_READ, self._account_sid)
        ids = {told.id for told in self._senders}
        after = row["position"] if row and ids <= set(row["senders"]) else 0
        self.pushed.position = Position(after)
        return Position(after)

    async def _save(self, position: Position) -> None:
        self.pushed.position = position
        if self._consents is not None:
            ids = sorted(told.id for told in self._senders)
            with translated():
                await self._pool.execute(_SAVE, self._account_sid, position, ids)

    async def _refused(self) -> list[SubjectId]:
        with translated():
            rows = await self._pool.fetch(_READ_REFUSED, self._account_sid)
        return [SubjectId(row[0]) for row in rows]

    async def _people(self, subject_ids: Sequence[SubjectId]) -> None:
        for start in range(0, len(subject_ids), _PEOPLE_AT_ONCE):
            await self._some(subject_ids[start : start + _PEOPLE_AT_ONCE])

    async def _some(self, subject_ids: Collection[SubjectId]) -> None:
        """Tell Twilio of some people what it was not told yet."""
        known = await self._pushed(subject_ids)
        wishes: list[Wish] = []
        wanted: set[_Key] = set()
        streams = await self._streams(subject_ids)
        people = await self._handler.subjects_of(streams)
        for number, events in streams.items():
            subject = _folded(people[number], events)
            mine, held = wishes_of(subject, number, events, self._senders)
            self.pushed.held += held
            wanted |= {(wish.subject_id, wish.sender) for wish in mine}
            wishes += [w for w in mine if self._is_news(w, known)]
        await self._forget(known.keys() - wanted)
        for start in range(0, len(wishes), ITEMS_MAX):
            if self._is_stopping():
                raise _Stopping
            await self._tell(wishes[start : start + ITEMS_MAX])

    async def _streams(
        self, subject_ids: Collection[SubjectId]
    ) -> dict[PhoneNumber, list[LedgerEvent]]:
        """What people have said who are not erased, by their numbers."""
        streams = await self._store.read_streams(dict.fromkeys(subject_ids, Version(0)))
        events = {i: [e for _, e in s.events] for i, s in streams.items()}
        firsts = [e[0] for e in events.values() if e]
        numbers = await self._keyring.phone_numbers(
            event for event in firsts if isinstance(event, ConsentChanged)
        )
        return {number: events[subject_id] for subject_id, number in numbers.items()}

    async def _pushed(self, subject_ids: Collection[SubjectId]) -> dict[_Key, _Known]:
        ids = list(subject_ids)
        with translated():
            rows = await self._pool.fetch(_READ_PUSHED, self._account_sid, ids)
        return {(row[0], row[1]): _Known(*row[2:]) for row in rows}

    def _is_news(self, wish: Wish, known: dict[_Key, _Known]) -> bool:
        told = known.get((wish.subject_id, wish.sender))
        is_news = told != _Known(wish.status, wish.version, None)
        self.pushed.unchanged += not is_news
        return is_news

    async def _tell(self, wishes: Sequence[Wish]) -> None:
        if self._consents is None:
            self.pushed.told.update(wish.status for wish in wishes)
            return
        fresh = await self._still(wishes)
        if not fresh:
            return
        results = await self._consents.tell(fresh)
        # A kill here tells Twilio the same once more.
        await self._note(results)
        for wish, error_code in results.items():
            if error_code is None:
                self.pushed.told[wish.status] += 1
            else:
                self.pushed.refused[error_code] += 1

    async def _still(self, wishes: Sequence[Wish]) -> list[Wish]:
        """Those whose stream has not grown; the others come again, further on."""
        read = {wish.subject_id: wish.subject_version for wish in wishes}
        streams = await self._store.read_streams(read)
        return [wish for wish in wishes if not streams[wish.subject_id].events]

    async def _note(self, results: Results) -> None:
        rows = [
            (wish.subject_id, wish.sender, wish.status, wish.version, error_code)
            for wish, error_code in results.items()
        ]
        columns = [list(column) for column in zip(*rows, strict=True)]
        with translated():
            await self._pool.execute(_SAVE_PUSHED, self._account_sid, *columns)

    async def _forget(self, keys: Collection[_Key]) -> None:
        if keys and self._consents is not None:
            columns = [list(column) for column in zip(*keys, strict=True)]
            with translated():
                await self._pool.execute(_FORGET_REFUSED, self._account_sid, *columns)


def _folded(person: Subject, events: Sequence[LedgerEvent]) -> Subject:
    """The person as of just those events, and with what erasures before them left."""
    subject = nobody(
        events[0].subject_id,
        suppressed=person.suppressed,
        suppressed_since=person.suppressed_since,
    )
    for event in events:
        subject = evolve(subject, event)
    return subject


def _touched(events: Sequence[RecordedEvent]) -> list[SubjectId]:
    """Whose consent has changed, in the order of that."""
    kinds = (ConsentChanged, ConsentLapsed)
    return list(dict.fromkeys(e.subject_id for _, e in events if isinstance(e, kinds)))
