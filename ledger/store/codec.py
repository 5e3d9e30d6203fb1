"""Event to stored bytes and back: the only place that knows the stored form.

The form is the ``eventsourcing`` library's own (its JSON transcoder, its topics, its
``class_version`` upcasting), so that a stock application reads what we write; a test
holds the two equal. What is personal is sealed on the way in and stays sealed on the
way out: opening is ``keyring``'s. Never touches the database. The subtle part: recorded
at is given by the database under the counter's lock, after this module has run, so the
state is made in pieces and the database joins them around the times.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID, uuid4

import orjson

from ledger.domain.consent import Proposal
from ledger.domain.events import (
    ConsentChanged,
    LedgerEvent,
    MessageEvent,
    SubjectErased,
)
from ledger.domain.ids import Position, Sealed, SubjectId, Version
from ledger.domain.messages import MessageProposal
from ledger.errors import EventBroken, UnknownEvent
from ledger.store.kinds import KINDS, STORED_FIELDS, class_version_of
from ledger.store.master import WrappedKey
from ledger.store.sealing import Day, SubjectKey

STATE_HEAD: Final = b'{"timestamp":{"_type_":"datetime_iso","_data_":"'
STATE_MIDDLE: Final = b'"},"occurred_at":{"_type_":"datetime_iso","_data_":"'
_STATE_TAIL: Final = b'"},'

_TIMES: Final = (
    "timestamp",
    "occurred_at",
    "until",
    "before",
    "as_of",
    "known_at",
    "send_at",
)
# By kind, since to look for what is not there costs a twentieth of reading an event;
# but in a state that is to be upcast, any of them may still be.
_TIMES_OF: Final = {
    kind: [name for name in _TIMES if name in fields or class_version_of(kind) > 1]
    for kind, fields in STORED_FIELDS.items()
}
# Looked up and not made each time, which takes a microsecond.
_TOPICS: Final = {kind: topic for topic, kind in KINDS.items()}
_AS_THE_LIBRARY: Final = orjson.OPT_PASSTHROUGH_DATETIME
_SAID: Final = ("in", "out")
_LEFT: Final = ("out", "unknown")
# What reading anything but a state's JSON raises.
_NOT_A_STATE: Final = (ValueError, TypeError, KeyError, AttributeError)


class StoredRow(NamedTuple):
    """A row of the events table, in the table's order."""

    originator_id: UUID
    originator_version: int
    topic: str
    state: bytes
    notification_id: int


class RecordedEvent(NamedTuple):
    """An event and its place in the whole ledger."""

    position: Position
    event: LedgerEvent


class Encoded(NamedTuple):
    """An event as the append statement takes it: all but its times."""

    stream_id: UUID
    version: Version
    topic: str
    occurred_at: datetime | None
    tail: bytes


class Entry(NamedTuple):
    """What one signal has caused: events that are appended together, in this order.

    All of them are about one person, whose key seals what is personal in them.
    """

    key: UUID
    """The signal's."""
    events: tuple[Encoded, ...]
    subject_id: SubjectId | None = None
    """The person; None where nothing is sealed and nothing is to be checked."""
    data_key: WrappedKey | None = None
    """The person's key, where something is sealed with it."""
    is_new_key: bool = False
    """Whether it is to be stored: the person has none, and no event."""
    subject_version: Version | None = None
    """How many events the person's stream must have still, though none is added."""
    day: Day | None = None
    """The day whose secret evidence is sealed with; the same in a whole batch."""


class Sealing(NamedTuple):
    """What is needed to seal what is personal of an entry."""

    subject_id: SubjectId
    key: SubjectKey
    is_new_key: bool
    day: Day


def encode(
    key: UUID,
    proposals: Sequence[Proposal | MessageProposal],
    sealing: Sealing,
    *,
    subject_version: Version | None = None,
) -> Entry:
    """The pieces of stored events, all but their times, with what is personal sealed.

    The person's key is stored, or must be the one that is, also where nothing is
    sealed but that the person was erased is to be found out.
    """
    return Entry(
        key,
        tuple(
            [
                _message(proposal, sealing)
                if isinstance(proposal, MessageProposal)
                else _consent(proposal, sealing)
                for proposal in proposals
            ]
        ),
        sealing.subject_id,
        sealing.key.wrapped,
        sealing.is_new_key,
        subject_version,
        sealing.day if sealing.day.box else None,
    )


def encode_unsealed(key: UUID, proposal: MessageProposal) -> Entry:
    """The same of an event of a text of somebody who was erased: nothing is held."""
    return Entry(key, (_message(proposal, None),))


def encode_open(
    kind: type[LedgerEvent],
    subject_id: UUID,
    version: Version,
    fields: Mapping[str, object],
    *,
    occurred_at: datetime | None = None,
) -> Entry:
    """The same of an event without anything personal, that no signal has caused."""
    place = (subject_id, version, _TOPICS[kind], occurred_at)
    return Entry(uuid4(), (Encoded(*place, _tail(kind, {**fields})),))


def _consent(proposal: Proposal, sealing: Sealing) -> Encoded:
    subject_id, version = proposal.subject_id, proposal.version
    tail = _tail(
        ConsentChanged,
        {
            "status": proposal.status,
            "previous_status": proposal.previous_status,
            "sender": proposal.sender,
            "source": proposal.source,
            "matched_by": proposal.matched_by,
            "actor": proposal.actor,
            "phone_number": sealing.key.seal_number(
                proposal.phone_number, subject_id, version
            ),
            "evidence": sealing.key.seal_evidence(
                proposal.evidence, sealing.day, subject_id, version
            ),
        },
    )
    topic = _TOPICS[ConsentChanged]
    return Encoded(subject_id, version, topic, proposal.occurred_at, tail)


def _message(proposal: MessageProposal, sealing: Sealing | None) -> Encoded:
    place = (proposal.message_id, proposal.version)
    fields: dict[str, object] = {
        # As the library writes it; orjson has a form of its own, and asks nobody.
        "counterparty": {"_type_": "uuid_hex", "_data_": proposal.counterparty.hex},
        **proposal.fields,
    }
    for name, value in proposal.personal.items():
        fields[name] = None
        if value is None or sealing is None:
            continue
        if isinstance(value, str):
            fields[name] = sealing.key.seal_text(name, value, *place)
        else:
            fields[name] = sealing.key.seal_evidence(value, sealing.day, *place)
    return Encoded(
        *place,
        _TOPICS[proposal.kind],
        proposal.occurred_at,
        _tail(proposal.kind, fields),
    )


def _tail(kind: type[LedgerEvent], fields: dict[str, object]) -> bytes:
    current = class_version_of(kind)
    if current > 1:
        # As the library writes it: only where it is not the first.
        fields["class_version"] = current
    tail = orjson.dumps(fields, default=_transcoded, option=_AS_THE_LIBRARY)
    return _STATE_TAIL + tail[1:]


def decode(row: StoredRow) -> RecordedEvent:
    """The event in a stored row, with what is personal still sealed.

    One straight line: a projection that catches up does little else. What a row lacks
    is never made up: a status that is not there must not become an ``in``.

    Raises:
        UnknownEvent: the topic or the event's version is from another release.
        EventBroken: it is not whole; the message names the position and the field.
    """
    originator_id, originator_version, topic, stored, position = row
    event_class = KINDS.get(topic)
    if event_class is None:
        raise UnknownEvent(position, topic, _stored_class_version(stored))
    try:
        state = orjson.loads(stored)
        for name in _TIMES_OF[event_class]:
            value = state.get(name)
            if isinstance(value, dict):
                state[name] = datetime.fromisoformat(value["_data_"])
        class_version = state.pop("class_version", 1)
    except _NOT_A_STATE as error:
        kind = type(error).__name__
        raise EventBroken(f"position {position} cannot be read: {kind}") from error
    if class_version != getattr(event_class, "class_version", 1):
        _upcast(event_class, state, position, class_version)
    if state.keys() != STORED_FIELDS[event_class]:
        raise EventBroken(_difference(event_class, state, position))
    if event_class is ConsentChanged:
        if state["status"] not in _SAID:
            raise EventBroken(f"position {position} has a status that is none")
        state["phone_number"] = Sealed(state["phone_number"])
        state["evidence"] = Sealed(state["evidence"])
    else:
        _read_other(event_class, state, position)
    state["originator_id"] = originator_id
    state["originator_version"] = originator_version
    # As the library's mapper does: an event read back is not validated a second time.
    event = object.__new__(event_class)
    object.__setattr__(event, "__dict__", state)
    return RecordedEvent(Position(position), event)


def _read_other(
    event_class: type[LedgerEvent], state: dict[str, Any], position: int
) -> None:
    if event_class is SubjectErased and state["status"] not in _LEFT:
        raise EventBroken(f"position {position} has a status that is none")
    if not issubclass(event_class, MessageEvent):
        return
    try:
        state["counterparty"] = UUID(state["counterparty"]["_data_"])
    except _NOT_A_STATE:
        raise EventBroken(f"position {position} has a counterparty that is none") from (
            None
        )
    if not isinstance(state.get("status", ""), str):
        raise EventBroken(f"position {position} has a status that is none")
    for name in event_class.personal:
        if state[name] is not None:
            state[name] = Sealed(state[name])


def _upcast(
    event_class: type[LedgerEvent],
    state: dict[str, Any],
    position: int,
    stored: object,
) -> None:
    """Bring a state from the version that it was stored in to the current one.

    As the library does it, but that nothing turns into an ``in`` on the way.
    """
    current = class_version_of(event_class)
    if not isinstance(stored, int) or stored < 1:
        raise EventBroken(f"position {position} has a class_version that is none")
    if stored > current:
        raise UnknownEvent(position, _TOPICS[event_class], stored)
    said = state.get("status")
    try:
        for version in range(stored, current):
            getattr(event_class, f"upcast_v{version}_v{version + 1}")(state)
    except KeyError as error:
        raise EventBroken(
            f"position {position} lacks {error.args[0]!r} of version {stored} of "
            f"{event_class.__name__}"
        ) from error
    if state.get("status") != said:
        raise EventBroken(
            f"position {position}: an upcaster of {event_class.__name__} has changed "
            "its status, which only the person can"
        )


def _difference(
    event_class: type[LedgerEvent], state: Mapping[str, object], position: int
) -> str:
    known, name = STORED_FIELDS[event_class], event_class.__name__
    lacks = ", ".join(sorted(known - state.keys()))
    adds = ", ".join(sorted(state.keys() - known))
    if lacks:
        return f"position {position} lacks {lacks} of {name}"
    return f"position {position} holds {adds}, which no version of {name} has"


def _stored_class_version(stored: bytes) -> int:
    """Of an event of which nothing else is known, for people to read."""
    try:
        found = orjson.loads(stored).get("class_version", 1)
    except _NOT_A_STATE:
        return 1
    return found if isinstance(found, int) else 1


def _transcoded(value: object) -> object:
    if isinstance(value, datetime):
        return {"_type_": "datetime_iso", "_data_": value.isoformat()}
    raise TypeError(f"{type(value).__name__} has no stored form")
