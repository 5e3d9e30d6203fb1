"""A number's story: every event and text, what it changed, and what held at a moment.

Read from the events and not from the tables. Two clocks: an event counts where it had
occurred by one moment and the ledger knew it by another. The subtle part is order:
events are told as they were recorded, one after the other, and what each changed is
what the ledger then said; what held at the end is the newest by when it occurred,
whatever the order in which it became known.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from ledger.domain.consent import (
    NO_FACTS,
    Fact,
    Facts,
    answer_of,
    decisive_for,
    fact_of,
    overall_deciding,
    status_for,
    with_fact,
)
from ledger.domain.events import (
    ConsentChanged,
    ConsentLapsed,
    MessageEvent,
    SubjectErased,
)
from ledger.domain.ids import (
    EVERY_SENDER,
    NO_SENDER,
    Answer,
    PhoneNumber,
    Position,
    Sender,
    SubjectId,
    Version,
    typed_number,
)
from ledger.errors import NotFound
from ledger.event_record import EventRecord, event_records
from ledger.generations import generations_of
from ledger.store.codec import RecordedEvent
from ledger.store.event_store import EventStore
from ledger.store.keyring import Keyring

_NOBODY_ELSE: Final = Sender("\0")
"""A sender that nothing was ever said to."""


class Moment(NamedTuple):
    """Up to when an event must have occurred, and been recorded; None is now."""

    as_of: datetime | None = None
    known_at: datetime | None = None

    def has(self, recorded: RecordedEvent) -> bool:
        """Whether an event counts at this moment."""
        event = recorded.event
        has_occurred = self.as_of is None or event.occurred_at <= self.as_of
        return has_occurred and (
            self.known_at is None or event.recorded_at <= self.known_at
        )


NOW: Final = Moment()


class Change(NamedTuple):
    """What was so before an event, and after it."""

    before: Answer
    after: Answer


class Told(NamedTuple):
    """An event as it is shown, and what it changed."""

    record: EventRecord
    sender: Change | None
    """For the sender that it is addressed to, if it is to one."""
    overall: Change


class Held(NamedTuple):
    """A status, since when, and the event that decided; None where none did."""

    status: Answer
    since: datetime | None
    position: Position | None
    said_to: Sender | None
    """To whom the event was addressed: an ``out`` to another sender decides, too."""


class Story(NamedTuple):
    """What a number said."""

    given: str
    phone_number: PhoneNumber
    position: Position
    """Where the ledger was when it was told."""
    moment: Moment
    events: list[Told]
    overall: Held
    senders: dict[Sender, Held]
    any_other: Answer
    """For a sender that nothing was said to."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What a person's events add up to, all subjects that the person was together."""

    facts_of: dict[SubjectId, Facts] = field(default_factory=dict)
    suppressed: bool = False
    """Whether a subject was erased while it was out."""

    def after(self, recorded: RecordedEvent) -> "Standing":
        """With one more event."""
        position, event = recorded
        subject_id = event.subject_id
        if isinstance(event, SubjectErased):
            others = {i: f for i, f in self.facts_of.items() if i != subject_id}
            return Standing(others, self.suppressed or event.status == "out")
        if not isinstance(event, ConsentChanged | ConsentLapsed):
            return self
        # The position in place of the version: it orders a stream in the same way, and
        # the streams of one person among each other.
        sender, fact = fact_of(event, Version(position))
        own = with_fact(self.facts_of.get(subject_id, NO_FACTS), sender, fact)
        return replace(self, facts_of={**self.facts_of, subject_id: own})

    @property
    def facts(self) -> Facts:
        """The newest of every sender."""
        merged: Facts = NO_FACTS
        for facts in self.facts_of.values():
            for sender, fact in facts.items():
                merged = with_fact(merged, sender, fact)
        return merged

    def status(self, sender: Sender) -> Answer:
        """Whether ``sender`` may text."""
        return status_for(self.facts, sender, suppressed=self.suppressed)

    def held(self, sender: Sender) -> Held:
        """The status for ``sender``, and what decided it."""
        return self._held(self.status(sender), decisive_for(self.facts, sender))

    def overall(self) -> Held:
        """The status for all senders together, and what decided it."""
        fact = overall_deciding(self.facts)
        return self._held(answer_of(fact, suppressed=self.suppressed), fact)

    def _held(self, status: Answer, fact: Fact | None) -> Held:
        if fact is None or fact.status != status:
            return Held(status, None, None, None)
        [said_to] = [one for one, other in self.facts.items() if other == fact]
        said_to = said_to or EVERY_SENDER
        return Held(status, fact.occurred_at, Position(fact.version), said_to)


def standing_after(events: Iterable[RecordedEvent]) -> Standing:
    """What a person's events add up to, in the order of the ledger."""
    standing = Standing()
    for recorded in events:
        standing = standing.after(recorded)
    return standing


async def tell(
    store: EventStore,
    keyring: Keyring,
    given: str,
    *,
    moment: Moment = NOW,
    sender: Sender | None = None,
) -> Story:
    """The story of ``given``, a number, as far as ``moment``.

    With ``sender``, what was said to that one or to every sender alone, and its texts.

    Raises:
        NotFound: the number was never seen, up to now.
        SealBroken: something that is sealed was altered.
        KeyMissing, StoreUnavailable: it cannot be read.
    """
    number = typed_number(given)
    position = await store.last_position()
    generations = await generations_of(store, keyring, number, position)
    if not generations:
        raise NotFound("this number was never seen")
    everything = sorted(event for one in generations for event in one.everything)
    counted = [recorded for recorded in everything if moment.has(recorded)]
    told, standing = await _told(keyring, counted, sender)
    shown = [sender] if sender else sorted(standing.facts.keys() - {NO_SENDER})
    return Story(
        given=given,
        phone_number=number,
        position=position,
        moment=moment,
        events=told,
        overall=standing.overall(),
        senders={one: standing.held(one) for one in shown},
        any_other=standing.status(_NOBODY_ELSE),
    )


async def _told(
    keyring: Keyring, events: Sequence[RecordedEvent], sender: Sender | None
) -> tuple[list[Told], Standing]:
    told = []
    standing = Standing()
    records = await event_records(keyring, events)
    others = _texts_of_others(events, sender) if sender else frozenset()
    for recorded, record in zip(events, records, strict=True):
        before, standing = standing, standing.after(recorded)
        event = recorded.event
        change = None
        if event.stream_id in others:
            continue
        if isinstance(event, ConsentChanged):
            if sender and event.sender not in {sender, EVERY_SENDER}:
                continue
            addressed = sender or event.sender
            change = Change(before.status(addressed), standing.status(addressed))
        elif sender and isinstance(event, ConsentLapsed):
            change = Change(before.status(sender), standing.status(sender))
        overall = Change(before.overall().status, standing.overall().status)
        told.append(Told(record, change, overall))
    return told, standing


def _texts_of_others(
    events: Iterable[RecordedEvent], sender: Sender
) -> frozenset[UUID]:
    """The texts that were to or from other senders, as far as it is known."""
    whose: dict[UUID, Sender | None] = {}
    for _, event in events:
        if isinstance(event, MessageEvent):
            its = getattr(event, "sender", None)
            whose[event.stream_id] = whose.get(event.stream_id) or its
    return frozenset(text for text, its in whose.items() if its != sender)


def as_json(story: Story) -> dict[str, Any]:
    """The story for a script."""
    return {
        "phoneNumber": {"given": story.given, "understood": story.phone_number},
        "position": story.position,
        "asOf": story.moment.as_of,
        "knownAt": story.moment.known_at,
        "events": [_told_json(told) for told in story.events],
        "status": _held_json(story.overall),
        "senders": [
            {"sender": sender, **_held_json(held)}
            for sender, held in story.senders.items()
        ],
        "anyOtherSender": story.any_other,
    }


def _held_json(held: Held) -> dict[str, Any]:
    status, since, position, said_to = held
    return {"status": status, "since": since, "position": position, "saidTo": said_to}


def _told_json(told: Told) -> dict[str, Any]:
    changed = {"overall": told.overall._asdict()}
    if told.sender is not None:
        changed["sender"] = told.sender._asdict()
    return {**told.record, "changed": changed}
