"""Everybody that a number has stood for: one subject after another.

After an erasure the same number is a new subject, and both are the person's. Read from
the events and not from the tables, so it is complete at a position. Never opens what is
sealed.
"""

import itertools
from collections.abc import Iterable
from typing import Final, NamedTuple

from ledger.domain.consent import Subject, evolve, nobody
from ledger.domain.ids import PhoneNumber, Position, SubjectId, Version
from ledger.store.codec import RecordedEvent
from ledger.store.event_store import EventStore
from ledger.store.keyring import Keyring

_STREAMS_MAX: Final = 500
"""How many texts are read at once."""


class Generation(NamedTuple):
    """One subject of the person, with its events."""

    subject: Subject
    events: list[RecordedEvent]
    texts: list[RecordedEvent]
    """The events of its texts, which have streams of their own."""

    @property
    def everything(self) -> list[RecordedEvent]:
        """Whatever is recorded of the subject."""
        return sorted([*self.events, *self.texts])


async def person_now(
    store: EventStore, keyring: Keyring, number: PhoneNumber
) -> Generation:
    """Whom a number stands for now: somebody new, where the one before was erased.

    Without texts.

    Raises:
        UnknownEvent: there is an event that this release does not know.
        StoreUnavailable: the database cannot be read now.
    """
    identity = await keyring.identity()
    suppressed = False
    for generation in itertools.count():
        subject_id = identity.subject_id(number, generation)
        stream = (await store.read_streams({subject_id: Version(0)}))[subject_id]
        subject = _folded(nobody(subject_id, suppressed=suppressed), stream.events)
        if not subject.erased:
            return Generation(subject, stream.events, [])
        suppressed = subject.suppressed
    raise AssertionError  # it counts for ever


async def generations_of(
    store: EventStore, keyring: Keyring, number: PhoneNumber, position: Position
) -> list[Generation]:
    """The subjects of a number, oldest first, up to a position; none if never seen.

    Raises:
        UnknownEvent: one has an event that this release does not know.
        StoreUnavailable: the database cannot be read now.
    """
    identity = await keyring.identity()
    found: list[Generation] = []
    suppressed = False
    for generation in itertools.count():
        subject_id = identity.subject_id(number, generation)
        stream = (await store.read_streams({subject_id: Version(0)}))[subject_id]
        events = stream.up_to(position)
        texts = await _texts(store, subject_id, position)
        if generation and not (events or texts):
            break
        subject = _folded(nobody(subject_id, suppressed=suppressed), events)
        found.append(Generation(subject, events, texts))
        suppressed = subject.suppressed
        if not subject.erased:
            break
    return found if found[0].events or found[0].texts else []


async def _texts(
    store: EventStore, subject_id: SubjectId, position: Position
) -> list[RecordedEvent]:
    ids = (await store.texts_of([subject_id]))[subject_id]
    found: list[RecordedEvent] = []
    for start in range(0, len(ids), _STREAMS_MAX):
        some = ids[start : start + _STREAMS_MAX]
        streams = await store.read_streams(dict.fromkeys(some, Version(0)))
        found += [e for stream in streams.values() for e in stream.up_to(position)]
    return sorted(found)


def _folded(subject: Subject, events: Iterable[RecordedEvent]) -> Subject:
    for _, event in events:
        subject = evolve(subject, event)
    return subject
