"""What arrived becomes events: load, decide, append; on a conflict, again.

Signals of consent, and texts, wishes to send and what became of them, each of which may
carry a signal: what it says of consent and the text itself are one entry, appended
together or not at all. Many are handled as one batch, in one transaction. Never
acknowledges: the caller's ``handle`` returns only after the commit. The subtle part is
the loop: the append is optimistic, so a stream that grew in another process meanwhile
comes back as a conflict, is read again and decided again; nobody else in the batch
waits.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Final, NamedTuple, Self, assert_never

from ledger.deciding import Deciding, message_id_of, read_messages
from ledger.domain.consent import Subject
from ledger.domain.ids import PhoneNumber, Position
from ledger.domain.messages import Arrival, SendRequest, Text
from ledger.domain.signals import Signal
from ledger.errors import InvalidConsent, RequestRefused, StoreUnavailable
from ledger.people import Known
from ledger.settings import Settings
from ledger.store.batcher import Batcher, Promise
from ledger.store.codec import Entry
from ledger.store.event_store import (
    Appended,
    Conflict,
    Duplicate,
    EventStore,
    FromTheFuture,
    Outcome,
)
from ledger.store.keyring import Keyring

_ROUNDS_MAX: Final = 50


class Receipt(NamedTuple):
    """What became of it; ``position`` is None where nothing was to be done.

    It is that of the first of the events: what was said of consent, if anything was.
    """

    position: Position | None
    is_new: bool
    is_silent: bool = False
    """Whether what it says of consent changes nothing: the text alone was recorded."""


NOTHING_TO_DO: Final = Receipt(None, is_new=False)

_Results = dict[int, Receipt | Exception]


class CommandHandler:
    """Records what arrives, grouped. Use as ``async with``."""

    def __init__(
        self,
        store: EventStore,
        keyring: Keyring,
        settings: Settings,
    ) -> None:
        self._store = store
        self._keyring = keyring
        self._known = Known(store, keyring)
        self._batcher: Batcher[Arrival, Receipt] = Batcher(
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
        """How many arrivals are in the queue now."""
        return self._batcher.waiting

    async def handle(self, arrival: Arrival) -> Receipt:
        """Record ``arrival``; on return its events are durable.

        Raises:
            InvalidConsent: it says that it occurred in the future.
            PreconditionFailed: the subject is not at the version that it names.
            NotAllowed: it wants to send where no consent allows it.
            QueueFull: too many are waiting; nothing was recorded.
            StoreUnavailable: it is not known to be durable; safe to try again.
            UnknownEvent: a newer release has written to the subject's stream. What
                the signal would add to it cannot be decided here, and is not guessed.
        """
        return await self._batcher.submit(arrival)

    def put(self, arrival: Arrival, promise: Promise[Receipt]) -> None:
        """As ``handle``, for whoever is called with the receipt, or the error.

        Raises:
            QueueFull: too many are waiting; nothing was recorded.
        """
        self._batcher.put(arrival, promise)

    async def handle_all(
        self, arrivals: Sequence[Arrival]
    ) -> Sequence[Receipt | Exception]:
        """Record ``arrivals`` in one transaction, and one after the other.

        One result each, in their order: a receipt, which is durable, or why it is
        refused, which holds back none of the others. Nothing waits in the queue, so
        the caller bounds the batch. Safe after any error: a key counts once.

        Raises:
            StoreUnavailable: it is not known whether any of them is durable.
        """
        results: _Results = {}
        undecided = dict(enumerate(arrivals))
        for n in range(_ROUNDS_MAX):
            results |= await self._round(undecided, is_first=n == 0)
            undecided = {i: a for i, a in undecided.items() if i not in results}
            if not undecided:
                return [results[i] for i in range(len(arrivals))]
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
        people = await self._known.read(identity, numbers)
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

    async def _round(
        self, arrivals: Mapping[int, Arrival], *, is_first: bool
    ) -> _Results:
        """Load, decide and append once; what is missing in the result is undecided."""
        deciding = await self._load(arrivals.values(), is_first=is_first)
        people = dict(deciding.people)
        results, entries = await self._decide(deciding, arrivals)
        if not entries:
            return results
        appended = await self._store.append(list(entries.values()))
        outcomes = dict(zip(entries, appended, strict=True))
        missing = {
            arrivals[i].phone_number
            for i, outcome in outcomes.items()
            if not isinstance(outcome, Appended)
        }
        for number in missing:
            self._known.forget(people[number])
        if missing:
            self._keyring.forget_today()
        # What changed nothing was decided as if all before it were recorded.
        results = {
            i: result
            for i, result in results.items()
            if arrivals[i].phone_number not in missing
        }
        answers = {
            i: _answer(outcome, is_silent=_is_silent(arrivals[i], entries[i]))
            for i, outcome in outcomes.items()
        }
        return results | {i: answer for i, answer in answers.items() if answer}

    async def _load(self, arrivals: Iterable[Arrival], *, is_first: bool) -> Deciding:
        """Whom and which texts the arrivals are about."""
        arrivals = list(arrivals)
        identity = await self._keyring.identity()
        people = await self._known.load(
            identity,
            (arrival.phone_number for arrival in arrivals),
            may_guess=is_first and all(map(_is_checked_by_append, arrivals)),
        )
        # An inbound text is a new one, until the append says that it is not.
        ids = {
            message_id_of(identity, arrival)
            for arrival in arrivals
            if not isinstance(arrival, Signal | Text)
            or (isinstance(arrival, Text) and not is_first)
        }
        texts = await read_messages(self._store, ids) if ids else {}
        return Deciding(
            self._keyring,
            identity,
            await self._keyring.today(),
            people,
            texts,
            has_repeats=len(people) < len(arrivals) or not _are_new(arrivals),
        )

    async def _decide(
        self, deciding: Deciding, arrivals: Mapping[int, Arrival]
    ) -> tuple[_Results, dict[int, Entry]]:
        """What needs no append, and what is to be appended."""
        results: _Results = {}
        entries: dict[int, Entry] = {}
        for i, arrival in arrivals.items():
            key = deciding.identity.signal_key(arrival.key)
            try:
                entry = deciding.entry(key, arrival)
            except RequestRefused as refusal:
                if any(entry.key == key for entry in entries.values()):
                    continue  # A repeat in this batch: its first is being recorded.
                # A repeat is answered as the first was, whatever has happened since.
                position = await self._store.position_of(key)
                results[i] = Receipt(position, is_new=False) if position else refusal
                continue
            if entry is None:
                results[i] = NOTHING_TO_DO
            else:
                entries[i] = entry
        return results, entries


def _are_new(arrivals: Iterable[Arrival]) -> bool:
    """Whether none can be of the same text as another but as its repeat."""
    return all(isinstance(arrival, Signal | Text) for arrival in arrivals)


def _is_checked_by_append(arrival: Arrival) -> bool:
    """Whether, decided on too little, it is a conflict and not a wrong answer."""
    match arrival:
        case Signal():
            return arrival.expected_version is None and arrival.undoes_out
        case Text(signal=signal):
            return signal is None or signal.undoes_out
        case _:
            return False


def _is_silent(arrival: Arrival, entry: Entry) -> bool:
    """Whether it has a signal, and only the text of it is in the entry."""
    if len(entry.events) > 1 or isinstance(arrival, Signal | SendRequest):
        return False
    return arrival.signal is not None


def _answer(outcome: Outcome, *, is_silent: bool) -> Receipt | Exception | None:
    match outcome:
        case Appended(position):
            return Receipt(position, is_new=True, is_silent=is_silent)
        case Duplicate(position):
            return Receipt(position, is_new=False)
        case FromTheFuture():
            return InvalidConsent("occurredAt is in the future")
        case Conflict():
            return None
        case _:
            assert_never(outcome)
