"""Signals become events: load, decide, append; on a conflict, again.

Many signals are handled as one batch, in one transaction. Never acknowledges: the
caller's ``handle`` returns only after the commit. The subtle part is the loop: the
append is optimistic, so a subject whose stream grew in another process meanwhile comes
back as a conflict, is read again and decided again; nobody else in the batch waits.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import NamedTuple, Self, assert_never

from ledger.domain.consent import Subject, assume, decide, evolve, nobody
from ledger.domain.ids import PhoneNumber, Position, SubjectId
from ledger.domain.signals import Signal
from ledger.errors import (
    InvalidConsent,
    KeyMissing,
    RequestRefused,
    StoreUnavailable,
)
from ledger.settings import Settings
from ledger.store.batcher import Batcher, Promise
from ledger.store.codec import Entry, encode
from ledger.store.event_store import (
    Appended,
    Conflict,
    Duplicate,
    EventStore,
    FromTheFuture,
    Outcome,
    Stream,
)
from ledger.store.identity import Identity
from ledger.store.keyring import Keyring
from ledger.store.sealing import SubjectKey

_ROUNDS_MAX = 50
_SUBJECTS_KEPT_MAX = 10_000


class Receipt(NamedTuple):
    """What became of a signal; ``position`` is None where nothing was to be done."""

    position: Position | None
    is_new: bool


NOTHING_TO_DO = Receipt(None, is_new=False)


_Results = dict[int, Receipt | Exception]


class _Person(NamedTuple):
    """Whom a number stands for now, as far as the stream was read."""

    subject: Subject
    origin: SubjectId
    """The id of the number's first subject, by which it is remembered."""
    generation: int = 0
    key: SubjectKey | None = None
    """None where nothing is stored of the subject."""


class CommandHandler:
    """Records signals, grouped. Use as ``async with``."""

    def __init__(
        self,
        store: EventStore,
        keyring: Keyring,
        settings: Settings,
    ) -> None:
        self._store = store
        self._keyring = keyring
        self._remembered: OrderedDict[SubjectId, _Person] = OrderedDict()
        self._reads_bring_nothing = False
        self._batcher: Batcher[Signal, Receipt] = Batcher(
            self.handle_all,
            batch_max=settings.batch_max,
            queue_max=settings.queue_max,
            timeout_seconds=settings.append_timeout_seconds,
        )

    async def __aenter__(self) -> Self:
        """Start handling."""
        await self._batcher.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Record what was accepted, then stop."""
        await self._batcher.__aexit__(kind, error, trace)

    @property
    def waiting(self) -> int:
        """How many signals are in the queue now."""
        return self._batcher.waiting

    async def handle(self, signal: Signal) -> Receipt:
        """Record ``signal``; on return its event is durable.

        Raises:
            InvalidConsent: it says that it occurred in the future.
            PreconditionFailed: the subject is not at the version that it names.
            QueueFull: too many signals are waiting; nothing was recorded.
            StoreUnavailable: it is not known to be durable; safe to try again.
            UnknownEvent: a newer release has written to the subject's stream. What
                the signal would add to it cannot be decided here, and is not guessed.
        """
        return await self._batcher.submit(signal)

    def put(self, signal: Signal, promise: Promise[Receipt]) -> None:
        """As ``handle``, for whoever is called with the receipt, or the error.

        Raises:
            QueueFull: too many signals are waiting; nothing was recorded.
        """
        self._batcher.put(signal, promise)

    async def handle_all(
        self, signals: Sequence[Signal]
    ) -> Sequence[Receipt | Exception]:
        """Record ``signals`` in one transaction, and one after the other.

        One result each, in their order: a receipt, which is durable, or why it is
        refused, which holds back none of the others. Nothing waits in the queue, so
        the caller bounds the batch. Safe after any error: a key counts once.

        Raises:
            StoreUnavailable: it is not known whether any of them is durable.
        """
        results: _Results = {}
        undecided = dict(enumerate(signals))
        for _ in range(_ROUNDS_MAX):
            results |= await self._round(undecided)
            undecided = {i: s for i, s in undecided.items() if i not in results}
            if not undecided:
                return [results[i] for i in range(len(signals))]
        raise StoreUnavailable(f"{_ROUNDS_MAX} rounds of conflicts")

    async def subjects(self, signals: Iterable[Signal]) -> dict[PhoneNumber, Subject]:
        """Whom ``signals`` are about, as it is known now.

        Raises:
            StoreUnavailable: the database cannot be read now.
        """
        return await self.subjects_of({s.phone_number for s in signals})

    async def subjects_of(
        self, numbers: Iterable[PhoneNumber]
    ) -> dict[PhoneNumber, Subject]:
        """Whom ``numbers`` stand for, as it is known now.

        Raises:
            StoreUnavailable: the database cannot be read now.
        """
        identity = await self._keyring.identity()
        people = {number: self._recall(identity, number) for number in numbers}
        people = await self._read(identity, people)
        return {number: person.subject for number, person in people.items()}

    async def positions_of(self, signals: Sequence[Signal]) -> dict[int, Position]:
        """Where those of ``signals`` are recorded that are, by their place.

        Raises:
            StoreUnavailable: the database cannot be read now.
        """
        identity = await self._keyring.identity()
        keys = [identity.signal_key(signal.key) for signal in signals]
        found = await self._store.positions_of(keys)
        return {i: found[key] for i, key in enumerate(keys) if key in found}

    async def _round(self, signals: Mapping[int, Signal]) -> _Results:
        """Load, decide and append once; what is missing in the result is undecided."""
        identity = await self._keyring.identity()
        people = await self._load(identity, signals.values())
        results, entries = await self._decide(identity, people, signals)
        if not entries:
            return results
        appended = await self._store.append(list(entries.values()))
        outcomes = dict(zip(entries, appended, strict=True))
        missing = {
            signals[i].phone_number
            for i, outcome in outcomes.items()
            if not isinstance(outcome, Appended)
        }
        for number in missing:
            self._forget(people[number])
        if missing:
            self._keyring.forget_today()
        # What changed nothing was decided as if all before it were recorded.
        results = {
            i: result
            for i, result in results.items()
            if signals[i].phone_number not in missing
        }
        answers = {i: _answer(outcome) for i, outcome in outcomes.items()}
        return results | {i: answer for i, answer in answers.items() if answer}

    async def _decide(
        self,
        identity: Identity,
        people: dict[PhoneNumber, _Person],
        signals: Mapping[int, Signal],
    ) -> tuple[_Results, dict[int, Entry]]:
        """What needs no append, and what is to be appended."""
        day = await self._keyring.today()
        repeats = len(people) < len(signals)
        results: _Results = {}
        entries: dict[int, Entry] = {}
        for i, signal in signals.items():
            person = people[signal.phone_number]
            key = identity.signal_key(signal.key)
            try:
                proposals = decide(person.subject, signal)
            except RequestRefused as refusal:
                if any(entry.key == key for entry in entries.values()):
                    continue  # A repeat in this batch: its first is being recorded.
                # A repeat is answered as the first was, whatever has happened since.
                position = await self._store.position_of(key)
                results[i] = Receipt(position, is_new=False) if position else refusal
                continue
            if not proposals:
                results[i] = NOTHING_TO_DO
            for proposal in proposals:
                subject_key = person.key or self._new_key(person.subject)
                entries[i] = encode(key, proposal, subject_key, day)
                if repeats:
                    subject = assume(person.subject, proposal)
                    assumed = person._replace(subject=subject, key=subject_key)
                    people[signal.phone_number] = assumed
        return results, entries

    async def _load(
        self, identity: Identity, signals: Iterable[Signal]
    ) -> dict[PhoneNumber, _Person]:
        """Whom the signals are about: what is remembered, and what came since.

        Where the last reading brought nothing, what is remembered is taken for all
        there is, and a number that is not for a new one: the append finds out, and the
        next round reads. That saves a round trip where most numbers are new.
        """
        signals = list(signals)
        numbers = {s.phone_number for s in signals}
        people = {number: self._recall(identity, number) for number in numbers}
        if self._reads_bring_nothing and all(map(_is_checked_by_append, signals)):
            return people
        self._reads_bring_nothing = True
        return await self._read(identity, people)

    async def _read(
        self, identity: Identity, people: dict[PhoneNumber, _Person]
    ) -> dict[PhoneNumber, _Person]:
        unread = people
        while unread:
            streams = await self._store.read_streams(
                {
                    person.subject.id: person.subject.version
                    for person in unread.values()
                }
            )
            read = {
                number: self._caught_up(person, streams[person.subject.id])
                for number, person in unread.items()
            }
            people = people | read
            unread = {
                number: _successor(identity, number, person)
                for number, person in read.items()
                if person.subject.erased
            }
        return people

    def _recall(self, identity: Identity, number: PhoneNumber) -> _Person:
        subject_id = identity.subject_id(number)
        known = self._remembered.get(subject_id)
        return known or _Person(nobody(subject_id), subject_id)

    def _caught_up(self, person: _Person, stream: Stream) -> _Person:
        """The person after what was read, remembered if there is anything."""
        if not stream.events:
            return person
        self._reads_bring_nothing = False
        subject, key = person.subject, person.key
        for _, event in stream.events:
            subject = evolve(subject, event)
        if key is None and stream.key is not None:
            key = self._keyring.subject_key(subject.id, stream.key)
        caught_up = person._replace(subject=subject, key=key)
        if not subject.erased:
            self._remember(caught_up)
        return caught_up

    def _new_key(self, subject: Subject) -> SubjectKey:
        if subject.version > 0:
            raise KeyMissing(f"of subject {subject.id}, which was not erased")
        return self._keyring.new_subject_key(subject.id)

    def _remember(self, person: _Person) -> None:
        self._remembered[person.origin] = person
        self._remembered.move_to_end(person.origin)
        if len(self._remembered) > _SUBJECTS_KEPT_MAX:
            self._remembered.popitem(last=False)

    def _forget(self, person: _Person) -> None:
        """Its stream grew, or a failover has set it back: read it again."""
        self._reads_bring_nothing = False
        self._remembered.pop(person.origin, None)


def _is_checked_by_append(signal: Signal) -> bool:
    """Whether, decided on too little, it is a conflict and not a wrong answer."""
    return signal.expected_version is None and signal.undoes_out


def _successor(identity: Identity, number: PhoneNumber, erased: _Person) -> _Person:
    """Who the person is since the subject was erased: somebody new."""
    generation = erased.generation + 1
    subject_id = identity.subject_id(number, generation)
    subject = nobody(
        subject_id,
        suppressed=erased.subject.suppressed,
        suppressed_since=erased.subject.suppressed_since,
    )
    return _Person(subject, erased.origin, generation)


def _answer(outcome: Outcome) -> Receipt | Exception | None:
    match outcome:
        case Appended(position):
            return Receipt(position, is_new=True)
        case Duplicate(position):
            return Receipt(position, is_new=False)
        case FromTheFuture():
            return InvalidConsent("occurredAt is in the future")
        case Conflict():
            return None
        case _:
            assert_never(outcome)
