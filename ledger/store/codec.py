"""Event to stored bytes and back: the only place that knows the stored form.

The form is the ``eventsourcing`` library's own (its JSON transcoder, its topics, its
``class_version`` upcasting), so that a stock application reads what we write; a test
holds the two equal. What is personal is sealed on the way in and stays sealed on the
way out: opening is ``keyring``'s. Never touches the database. The subtle part: recorded
at is given by the database under the counter's lock, after this module has run, so the
state is made in pieces and the database joins them around the times.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID, uuid4

import orjson
from eventsourcing.utils import get_topic

from ledger.domain.consent import Proposal
from ledger.domain.events import (
    ConsentChanged,
    ConsentChecked,
    EvidenceErased,
    HoldPlaced,
    HoldReleased,
    LedgerEvent,
    ProjectionSwitched,
    SubjectErased,
)
from ledger.domain.ids import Position, Sealed, SubjectId, Version
from ledger.errors import UnknownEvent
from ledger.store.master import WrappedKey
from ledger.store.sealing import Day, SubjectKey

STATE_HEAD: Final = b'{"timestamp":{"_type_":"datetime_iso","_data_":"'
STATE_MIDDLE: Final = b'"},"occurred_at":{"_type_":"datetime_iso","_data_":"'
_STATE_TAIL: Final = b'"},'

_CLASSES: Final[dict[str, type[LedgerEvent]]] = {
    get_topic(event_class): event_class
    for event_class in (
        ConsentChanged,
        SubjectErased,
        HoldPlaced,
        HoldReleased,
        EvidenceErased,
        ProjectionSwitched,
        ConsentChecked,
    )
}
_TIMES: Final = ("timestamp", "occurred_at", "until", "before", "as_of", "known_at")
_CONSENT_CHANGED: Final = get_topic(ConsentChanged)


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


class Entry(NamedTuple):
    """A proposal as the append statement takes it, under the key of its signal."""

    key: UUID
    subject_id: SubjectId
    version: Version
    topic: str
    occurred_at: datetime | None
    tail: bytes
    data_key: WrappedKey | None
    """The subject's key, where something is sealed with it."""
    day: Day | None
    """The day whose secret evidence is sealed with; the same in a whole batch."""


def encode(key: UUID, proposal: Proposal, subject_key: SubjectKey, day: Day) -> Entry:
    """The pieces of a stored event, all but its times, with what is personal sealed."""
    subject_id, version = proposal.subject_id, proposal.version
    tail = orjson.dumps(
        {
            "status": proposal.status,
            "previous_status": proposal.previous_status,
            "sender": proposal.sender,
            "source": proposal.source,
            "matched_by": proposal.matched_by,
            "actor": proposal.actor,
            "phone_number": subject_key.seal_number(
                proposal.phone_number, subject_id, version
            ),
            "evidence": subject_key.seal_evidence(
                proposal.evidence, day, subject_id, version
            ),
        }
    )
    return Entry(
        key,
        subject_id,
        version,
        _CONSENT_CHANGED,
        proposal.occurred_at,
        _STATE_TAIL + tail[1:],
        subject_key.wrapped,
        day if day.box else None,
    )


def encode_open(
    kind: type[LedgerEvent],
    subject_id: SubjectId,
    version: Version,
    fields: Mapping[str, object],
) -> Entry:
    """The same of an event without anything personal, that no signal has caused."""
    tail = orjson.dumps(
        fields, default=_transcoded, option=orjson.OPT_PASSTHROUGH_DATETIME
    )
    return Entry(
        key=uuid4(),
        subject_id=subject_id,
        version=version,
        topic=get_topic(kind),
        occurred_at=None,
        tail=_STATE_TAIL + tail[1:],
        data_key=None,
        day=None,
    )


def decode(row: StoredRow) -> RecordedEvent:
    """The event in a stored row, with what is personal still sealed.

    One straight line: a projection that catches up does little else.

    Raises:
        UnknownEvent: the topic or the event's version is from another release.
    """
    originator_id, originator_version, topic, stored, position = row
    event_class = _CLASSES.get(topic)
    if event_class is None:
        raise UnknownEvent(f"position {position} holds {topic!r}")
    state = orjson.loads(stored)
    for name in _TIMES:
        value = state.get(name)
        if isinstance(value, dict):
            state[name] = datetime.fromisoformat(value["_data_"])
    _upcast(event_class, state, position)
    if event_class is ConsentChanged:
        state["phone_number"] = Sealed(state["phone_number"])
        state["evidence"] = Sealed(state["evidence"])
    state["originator_id"] = originator_id
    state["originator_version"] = originator_version
    # As the library's mapper does: an event read back is not validated a second time.
    event = object.__new__(event_class)
    object.__setattr__(event, "__dict__", state)
    return RecordedEvent(Position(position), event)


def _transcoded(value: object) -> object:
    if isinstance(value, datetime):
        return {"_type_": "datetime_iso", "_data_": value.isoformat()}
    raise TypeError(f"{type(value).__name__} has no stored form")


def _upcast(
    event_class: type[LedgerEvent], state: dict[str, Any], position: int
) -> None:
    current: int = getattr(event_class, "class_version", 1)
    stored: int = state.pop("class_version", 1)
    if stored > current:
        raise UnknownEvent(
            f"position {position} holds version {stored} of {get_topic(event_class)!r},"
            f" this release knows up to {current}"
        )
    for version in range(stored, current):
        getattr(event_class, f"upcast_v{version}_v{version + 1}")(state)
