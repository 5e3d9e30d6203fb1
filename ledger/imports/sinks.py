"""Where batches of an import go: into the ledger, or, in a dry run, nowhere.

The decision is the command handler's and the domain's, as for a text. The subtle part
is repeats: a row whose key was recorded before is passed over, so that a second run
goes on where the first one ended, but not if the ledger has something else under that
key: an opt-out may not be lost because a row's key was used twice.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, time
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

from ledger.command_handler import CommandHandler, Receipt
from ledger.domain.consent import (
    Subject,
    answer_of,
    assume,
    decide,
    overall_deciding,
)
from ledger.domain.events import ConsentChanged
from ledger.domain.ids import PhoneNumber, Position, Sender, Status, SubjectId
from ledger.domain.messages import Arrival
from ledger.domain.signals import Signal
from ledger.errors import InvalidConsent
from ledger.imports.importer import Outcome
from ledger.imports.interpret import Skipped
from ledger.imports.refusals import RowRefused
from ledger.store.event_store import EventStore
from ledger.store.keyring import Keyring

KEPT_MAX: Final = 200_000
"""Keys, and numbers, that a dry run remembers at least; twice as many at most."""

Item = TypeVar("Item")


class Repeated(Protocol):
    """Says what to make of rows whose key is recorded."""

    async def outcomes(
        self, signals: Sequence[Signal], known: Mapping[int, Position]
    ) -> Mapping[int, Outcome]:
        """What to say of the ``signals`` at the places of ``known``.

        Raises:
            StoreUnavailable: the database cannot be read now.
        """
        ...


class Once:
    """For keys that name the fact itself, whoever brings it: a message's SID.

    The webhook may have known more of it than the log does: OptOutType, the service.
    What it did not know yet has a key of its own before it comes here (``rereading``).
    """

    async def outcomes(
        self, signals: Sequence[Signal], known: Mapping[int, Position]
    ) -> Mapping[int, Outcome]:
        """See ``Repeated.outcomes``: each was recorded before."""
        del signals
        return dict.fromkeys(known, "duplicate")


class Repeats:
    """Says of rows that are recorded already whether they say the same."""

    def __init__(self, store: EventStore, keyring: Keyring) -> None:
        self._store = store
        self._keyring = keyring

    async def outcomes(
        self, signals: Sequence[Signal], known: Mapping[int, Position]
    ) -> dict[int, Outcome]:
        """What to say of the ``signals`` at the places of ``known``.

        Raises:
            StoreUnavailable: the database cannot be read now.
        """
        if not known:
            return {}
        recorded = await self._store.read_at([*set(known.values())])
        events = {
            position: event
            for position, event in recorded
            if isinstance(event, ConsentChanged)
        }
        said = {
            place: position for place, position in known.items() if position in events
        }
        numbers = await self._numbers(signals, said, events)
        compared = {
            place: _compared(signals[place], position, events[position], numbers)
            for place, position in said.items()
        }
        silent = {place: _silent(known[place]) for place in known if place not in said}
        return compared | silent

    async def _numbers(
        self,
        signals: Sequence[Signal],
        known: Mapping[int, Position],
        events: Mapping[Position, ConsentChanged],
    ) -> dict[SubjectId, PhoneNumber]:
        """Whose the events are that do not have the id of the signal's number."""
        identity = await self._keyring.identity()
        others = [
            events[position]
            for place, position in known.items()
            if events[position].subject_id
            != identity.subject_id(signals[place].phone_number)
        ]
        return await self._keyring.phone_numbers(others)


def _compared(
    signal: Signal,
    position: Position,
    event: ConsentChanged,
    numbers: Mapping[SubjectId, PhoneNumber],
) -> Outcome:
    # Not there if it is the same, or cannot be compared: the person was erased since.
    number = numbers.get(event.subject_id, signal.phone_number)
    said = (signal.phone_number, signal.sender, signal.status)
    is_same = said == (number, event.sender, event.status)
    if is_same and _may_be(signal, event):
        return "duplicate"
    return RowRefused(
        "key_reused",
        f"position {position} was recorded under this row's key, and says otherwise: "
        "a row that has changed needs another key",
    )


def _silent(position: Position) -> Outcome:
    return RowRefused(
        "key_reused",
        f"position {position} is this text, which by the words of then said nothing: "
        "record what it says now with a key of its own",
    )


class _Said(NamedTuple):
    """What a row of the file said, to be compared with another one of its key."""

    phone_number: PhoneNumber
    sender: Sender
    status: Status
    occurred_at: datetime


def _compared_in_file(signal: Signal, said: _Said) -> Outcome:
    is_same = said[:3] == (signal.phone_number, signal.sender, signal.status)
    if is_same and _is_time_of(signal, said.occurred_at):
        return "duplicate"
    return RowRefused(
        "key_reused",
        "an earlier row of this file has this row's key, and says otherwise: "
        "a row that has changed needs another key",
    )


def _may_be(signal: Signal, event: ConsentChanged) -> bool:
    """Whether the times do not speak against it.

    A text that the webhook brought has the time of its recording.
    """
    is_text = event.source == "twilio.inbound"
    return is_text or _is_time_of(signal, event.occurred_at)


def _is_time_of(signal: Signal, occurred_at: datetime) -> bool:
    """A day's opt-out that was recorded on the very day has the time of that."""
    at = signal.occurred_at
    if at is None or at == occurred_at:
        return True
    return at.time() == time.max and at.date() == occurred_at.date()


class Recording:
    """Records batches, through the same decision and append as the webhook."""

    def __init__(
        self,
        handler: CommandHandler,
        repeats: Repeated,
        arrival_of: Callable[[Signal], Arrival] = lambda signal: signal,
    ) -> None:
        """``arrival_of`` says what a signal is recorded with."""
        self._handler = handler
        self._repeats = repeats
        self._arrival_of = arrival_of
        self._look_first = True

    async def take(self, signals: Sequence[Signal]) -> list[Outcome]:
        """See ``Sink.take``; what is recorded is durable."""
        known: dict[int, Position] = {}
        if self._look_first:
            # A second run meets nothing else at first; to find that out before sealing
            # is much quicker than to leave it to the append, which finds it out anyway.
            known = await self._handler.positions_of(signals)
        fresh = [place for place in range(len(signals)) if place not in known]
        results = await self._handler.handle_all(
            [self._arrival_of(signals[i]) for i in fresh]
        )
        receipts = dict(zip(fresh, results, strict=True))
        known |= {
            place: receipt.position
            for place, receipt in receipts.items()
            if isinstance(receipt, Receipt) and not receipt.is_new and receipt.position
        }
        self._look_first = bool(known)
        outcomes: dict[int, Outcome] = {i: _outcome(r) for i, r in receipts.items()}
        outcomes |= await self._repeats.outcomes(signals, known)
        return [outcomes[place] for place in range(len(signals))]


def _outcome(result: Receipt | Exception) -> Outcome:
    match result:
        case Receipt(is_new=True, is_silent=False):
            return "recorded"
        case Receipt():
            return Skipped("saysNothing")
        case InvalidConsent():
            return RowRefused("time_in_future", "the time is in the future")
        case _:
            raise result


class Turned(NamedTuple):
    """How many numbers' overall status an import would change, and to what."""

    out: int
    into: int
    neither: int


class Foresight:
    """Finds out what a batch would do, and appends nothing.

    Exact as long as the rows of a number, and of a key, are not further apart than what
    is kept; beyond that a number counts as another one, and a repeat as new.
    """

    def __init__(self, handler: CommandHandler, repeats: Repeated) -> None:
        self._handler = handler
        self._repeats = repeats
        self._keys: _Window[_Said] = _Window()
        self._people: _Window[_Expected] = _Window()
        self._turned = Turned(0, 0, 0)

    async def take(self, signals: Sequence[Signal]) -> list[Outcome]:
        """See ``Sink.take``."""
        known = await self._handler.positions_of(signals)
        strangers = [s for s in signals if self._people.get(s.phone_number) is None]
        subjects = await self._handler.subjects(strangers)
        repeats = await self._repeats.outcomes(signals, known)
        for number, subject in subjects.items():
            expected = _Expected(_overall(subject), subject, is_counted=False)
            self._people.put(number, expected)
        now = datetime.now(UTC)
        outcomes = [
            repeats[place] if place in repeats else self._foreseen(signal, now)
            for place, signal in enumerate(signals)
        ]
        for signal, outcome in zip(signals, outcomes, strict=True):
            if not isinstance(outcome, RowRefused):
                self._count(signal.phone_number)
        self._keys.shrink()
        for expected in self._people.shrink():
            self._turned = _with(self._turned, expected)
        return outcomes

    @property
    def turned(self) -> Turned:
        """How the numbers of all batches would change."""
        turned = self._turned
        for expected in self._people:
            turned = _with(turned, expected)
        return turned

    def _foreseen(self, signal: Signal, now: datetime) -> Outcome:
        if signal.occurred_at is not None and signal.occurred_at > now:
            return RowRefused("time_in_future", "the time is in the future")
        if said := self._keys.get(signal.key):
            return _compared_in_file(signal, said)
        expected = self._people.get(signal.phone_number)
        assert expected is not None, "it was read with its batch"  # noqa: S101
        proposals = decide(expected.subject, signal)
        if not proposals:
            return Skipped("saysNothing")
        at = signal.occurred_at or now
        said = _Said(signal.phone_number, signal.sender, signal.status, at)
        self._keys.put(signal.key, said)
        for proposal in proposals:
            subject = assume(expected.subject, proposal)
            self._people.put(signal.phone_number, expected._replace(subject=subject))
        return "recorded"

    def _count(self, number: PhoneNumber) -> None:
        expected = self._people.get(number)
        if expected is not None and not expected.is_counted:
            self._people.put(number, expected._replace(is_counted=True))


class _Expected(NamedTuple):
    """A number's overall status before the import, and the person after its rows."""

    before: str
    subject: Subject
    is_counted: bool
    """Whether a row of it was not refused."""


def _overall(subject: Subject) -> str:
    fact = overall_deciding(subject.facts)
    return answer_of(fact, suppressed=subject.suppressed)


def _with(turned: Turned, expected: _Expected) -> Turned:
    if not expected.is_counted:
        return turned
    after = _overall(expected.subject)
    if after == expected.before:
        return turned._replace(neither=turned.neither + 1)
    if after == "out":
        return turned._replace(out=turned.out + 1)
    return turned._replace(into=turned.into + 1)


class _Window(Generic[Item]):
    """The newest items by key, in bounded memory: two halves, of which one goes."""

    def __init__(self) -> None:
        self._new: dict[str, Item] = {}
        self._old: dict[str, Item] = {}

    def __iter__(self) -> Iterator[Item]:
        yield from self._new.values()
        yield from (item for key, item in self._old.items() if key not in self._new)

    def get(self, key: str) -> Item | None:
        """What was put under ``key``, if it is still there."""
        return self._new.get(key) or self._old.get(key)

    def put(self, key: str, item: Item) -> None:
        """Keep ``item``, in the place of another one."""
        self._new[key] = item

    def shrink(self) -> list[Item]:
        """Let go of the older half if the newer one is full; what is gone."""
        if len(self._new) < KEPT_MAX:
            return []
        gone = [item for key, item in self._old.items() if key not in self._new]
        self._old, self._new = self._new, {}
        return gone
