"""Signals become events: load, decide, append; on a conflict, again.

Many signals are handled as one batch, in one transaction. Never acknowledges: the
caller's ``handle`` returns only after the commit. The subtle part is the loop: the
append is optimistic, so a subject whose stream grew in another process meanwhile comes
back as a conflict, is read again and decided again; nobody else in the batch waits.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self, assert_never

from ledger.domain.consent import Subject, assume, decide, evolve, nobody
from ledger.domain.ids import Position, SubjectId, Version
from ledger.domain.signals import Signal
from ledger.errors import InvalidConsent, RequestRefused, StoreUnavailable
from ledger.settings import Settings
from ledger.store.batcher import Batcher
from ledger.store.codec import Entry, encode
from ledger.store.event_store import (
    Appended,
    Conflict,
    Duplicate,
    EventStore,
    FromTheFuture,
    Outcome,
)
from ledger.store.identity import IdentityLoader

_ROUNDS_MAX = 50
_SUBJECTS_KEPT_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a signal; ``position`` is None where nothing was to be done."""

    position: Position | None
    is_new: bool


NOTHING_TO_DO = Receipt(None, is_new=False)


class CommandHandler:
    """Records signals, grouped. Use as ``async with``."""

    def __init__(
        self,
        store: EventStore,
        identity: IdentityLoader,
        settings: Settings,
    ) -> None:
        self._store = store
        self._identity = identity
        self._subjects: OrderedDict[SubjectId, Subject] = OrderedDict()
        self._batcher: Batcher[Signal, Receipt] = Batcher(
            self._handle_batch,
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
        """
        return await self._batcher.submit(signal)

    async def _handle_batch(
        self, signals: Sequence[Signal]
    ) -> Sequence[Receipt | Exception]:
        results: dict[int, Receipt | Exception] = {}
        undecided = dict(enumerate(signals))
        for _ in range(_ROUNDS_MAX):
            results |= await self._round(undecided)
            undecided = {i: s for i, s in undecided.items() if i not in results}
            if not undecided:
                return [results[i] for i in range(len(signals))]
        raise StoreUnavailable(f"{_ROUNDS_MAX} rounds of conflicts")

    async def _round(
        self, signals: dict[int, Signal]
    ) -> dict[int, Receipt | Exception]:
        """Load, decide and append once; what is missing in the result is undecided."""
        identity = await self._identity.load()
        ids = {i: identity.subject_id(s.phone_number) for i, s in signals.items()}
        subjects = await self._load(ids.values())
        repeats = len(subjects) < len(signals)
        results: dict[int, Receipt | Exception] = {}
        entries: dict[int, Entry] = {}
        for i, signal in signals.items():
            subject = subjects[ids[i]]
            try:
                proposals = decide(subject, signal)
            except RequestRefused as refusal:
                if any(entry.key == signal.key for entry in entries.values()):
                    continue  # A repeat in this batch: its first is being recorded.
                # A repeat is answered as the first was, whatever has happened since.
                position = await self._store.position_of(signal.key)
                results[i] = Receipt(position, is_new=False) if position else refusal
                continue
            if not proposals:
                results[i] = NOTHING_TO_DO
            for proposal in proposals:
                entries[i] = encode(signal.key, proposal)
                if repeats:
                    subjects[subject.id] = assume(subject, proposal)
        if not entries:
            return results
        appended = await self._store.append(list(entries.values()))
        outcomes = dict(zip(entries, appended, strict=True))
        # What changed nothing was decided as if all before it were recorded.
        missing = {ids[i] for i, o in outcomes.items() if not isinstance(o, Appended)}
        results = {i: r for i, r in results.items() if ids[i] not in missing}
        for i, outcome in outcomes.items():
            answer = _answer(outcome)
            if answer is None:
                # Its stream grew, or a failover has set it back: ask it anew.
                self._subjects.pop(ids[i], None)
            else:
                results[i] = answer
        return results

    async def _load(self, ids: Iterable[SubjectId]) -> dict[SubjectId, Subject]:
        """The subjects as they are now: what is remembered, and what came since."""
        known = {i: self._subjects.get(i) or nobody(i) for i in ids}
        streams = await self._store.read_streams(
            {i: subject.version for i, subject in known.items()}
        )
        for subject_id, recorded in streams.items():
            for _, event in recorded:
                known[subject_id] = evolve(known[subject_id], event)
            self._remember(known[subject_id])
        return known

    def _remember(self, subject: Subject) -> None:
        if subject.version == Version(0):
            return
        self._subjects[subject.id] = subject
        self._subjects.move_to_end(subject.id)
        if len(self._subjects) > _SUBJECTS_KEPT_MAX:
            self._subjects.popitem(last=False)


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
