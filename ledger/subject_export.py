"""A person's own data, for an access request: all that the ledger has, as it is stored.

Read from the events and not from the tables, so it is complete at the position that it
names. What was destroyed is said to be so, and never guessed. The subtle part is
generations: after an erasure the same number is another subject, and both are the
person's.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from ledger.consent_record import consent_record
from ledger.domain.consent import (
    Facts,
    Subject,
    deciding,
    evolve,
    nobody,
    overall_deciding,
)
from ledger.domain.events import ConsentChanged
from ledger.domain.ids import (
    Answer,
    PhoneNumber,
    Position,
    Version,
    typed_number,
)
from ledger.errors import NotFound
from ledger.store.codec import RecordedEvent
from ledger.store.event_store import EventStore
from ledger.store.keyring import Keyring, Opened

SubjectExport = dict[str, Any]
_SHOWN_OTHERWISE: Final = (
    "originator_id",
    "originator_version",
    "timestamp",
    "occurred_at",
)


class Generation(NamedTuple):
    """One subject of the person, with its events."""

    subject: Subject
    events: list[RecordedEvent]


async def export_subject(
    store: EventStore, keyring: Keyring, given: str, *, at: datetime
) -> SubjectExport:
    """Everything about ``given``, a number.

    Raises:
        NotFound: it was never seen.
        StoreUnavailable: the database cannot be read now.
    """
    number = typed_number(given)
    position = await store.last_position()
    generations = await _generations(store, keyring, number, position)
    if not generations:
        raise NotFound("this number was never seen")
    recorded = sorted(event for one in generations for event in one.events)
    personal = await _personal(keyring, recorded)
    newest = generations[-1].subject
    status, since = _now(newest)
    if newest.suppressed and since is None:
        since = _suppressed_since(generations)
    return {
        "exportedAt": at,
        "position": position,
        "phoneNumber": {"given": given, "understood": number},
        "status": status,
        "since": since,
        "suppressed": newest.suppressed,
        "senders": [] if newest.erased else _senders(newest.facts),
        "subjects": [_subject(i, g.subject, at) for i, g in enumerate(generations)],
        "events": [_event(r, personal.get(r.position)) for r in recorded],
        "consentRecord": consent_record(number, newest.id, _changes(recorded)),
    }


async def _generations(
    store: EventStore, keyring: Keyring, number: PhoneNumber, position: Position
) -> list[Generation]:
    """The subjects of a number, oldest first, up to a position."""
    identity = await keyring.identity()
    found: list[Generation] = []
    suppressed = False
    for generation in itertools.count():
        subject_id = identity.subject_id(number, generation)
        stream = (await store.read_streams({subject_id: Version(0)}))[subject_id]
        events = [event for event in stream.events if event.position <= position]
        if generation and not events:
            break
        subject = _folded(nobody(subject_id, suppressed=suppressed), events)
        found.append(Generation(subject, events))
        suppressed = subject.suppressed
        if not subject.erased:
            break
    return found if found[0].events else []


def _folded(subject: Subject, events: Iterable[RecordedEvent]) -> Subject:
    for _, event in events:
        subject = evolve(subject, event)
    return subject


async def _personal(
    keyring: Keyring, recorded: Sequence[RecordedEvent]
) -> Mapping[Position, Opened]:
    places = [position for position, e in recorded if isinstance(e, ConsentChanged)]
    opened = await keyring.opened(_changes(recorded))
    return dict(zip(places, opened, strict=True))


def _changes(recorded: Sequence[RecordedEvent]) -> list[ConsentChanged]:
    return [event for _, event in recorded if isinstance(event, ConsentChanged)]


def _now(subject: Subject) -> tuple[Answer, datetime | None]:
    """What the number is answered with for every sender together, and since when."""
    fact = None if subject.erased else overall_deciding(subject.facts)
    if fact is not None:
        return fact.status, fact.occurred_at
    return ("out" if subject.suppressed else "unknown"), None


def _suppressed_since(generations: Sequence[Generation]) -> datetime | None:
    """Since when it was out, of the newest subject that was erased while out."""
    facts = (overall_deciding(one.subject.facts) for one in reversed(generations))
    return next((f.occurred_at for f in facts if f and f.status == "out"), None)


def _senders(facts: Facts) -> list[dict[str, object]]:
    return [
        {"sender": sender, "status": fact.status, "since": fact.occurred_at}
        for sender in sorted(facts)
        if (fact := deciding(facts, sender))
    ]


def _subject(generation: int, subject: Subject, at: datetime) -> dict[str, object]:
    until = subject.held_until
    return {
        "subjectId": str(subject.id),
        "generation": generation,
        "erased": subject.erased,
        "held": until is not None and until > at and not subject.erased,
        "heldUntil": until,
        "status": _now(subject)[0],
        "senders": _senders(subject.facts),
    }


def _event(recorded: RecordedEvent, personal: Opened | None) -> dict[str, object]:
    position, event = recorded
    shown: dict[str, object] = {
        "position": position,
        "kind": type(event).__name__,
        "subjectId": str(event.subject_id),
        "version": event.version,
        "occurredAt": event.occurred_at,
        "recordedAt": event.recorded_at,
    }
    own = {n: value for n, value in vars(event).items() if n not in _SHOWN_OTHERWISE}
    if personal is not None:
        own |= personal._asdict()
        own["destroyed"] = [
            _camel(n) for n, value in personal._asdict().items() if value is None
        ]
    return shown | {_camel(name): value for name, value in own.items()}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
