"""Event to stored bytes and back: the only place that knows the stored form.

The form is the ``eventsourcing`` library's own (its JSON transcoder, its topics, its
``class_version`` upcasting), so that a stock application reads what we write; a test
holds the two equal. Never touches the database. The subtle part: recorded at is given
by the database under the counter's lock, after this module has run, so the state is
made in pieces and the database joins them around the times.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

import orjson
from eventsourcing.utils import get_topic

from ledger.domain.consent import Proposal
from ledger.domain.events import ConsentChanged
from ledger.domain.ids import Position, SubjectId, Version
from ledger.errors import UnknownEvent

STATE_HEAD: Final = b'{"timestamp":{"_type_":"datetime_iso","_data_":"'
STATE_MIDDLE: Final = b'"},"occurred_at":{"_type_":"datetime_iso","_data_":"'
_STATE_TAIL: Final = b'"},'

_CLASSES: Final[dict[str, type[ConsentChanged]]] = {
    get_topic(event_class): event_class for event_class in (ConsentChanged,)
}


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
    event: ConsentChanged


@dataclass(frozen=True, slots=True)
class Entry:
    """A proposal as the append statement takes it, under the key of its signal."""

    key: str
    subject_id: SubjectId
    version: Version
    topic: str
    occurred_at: datetime | None
    tail: bytes


def encode(key: str, proposal: Proposal) -> Entry:
    """The pieces of a stored event, all but its times."""
    tail = orjson.dumps(
        {
            "status": proposal.status,
            "previous_status": proposal.previous_status,
            "sender": proposal.sender,
            "source": proposal.source,
            "matched_by": proposal.matched_by,
            "actor": proposal.actor,
            "phone_number": proposal.phone_number,
            "evidence": proposal.evidence,
        }
    )
    return Entry(
        key=key,
        subject_id=proposal.subject_id,
        version=proposal.version,
        topic=get_topic(ConsentChanged),
        occurred_at=proposal.occurred_at,
        tail=_STATE_TAIL + tail[1:],
    )


def decode(row: StoredRow) -> RecordedEvent:
    """The event in a stored row.

    One straight line: a projection that catches up does little else.

    Raises:
        UnknownEvent: the topic or the event's version is from another release.
    """
    originator_id, originator_version, topic, stored, position = row
    event_class = _CLASSES.get(topic)
    if event_class is None:
        raise UnknownEvent(f"position {position} holds {topic!r}")
    state = orjson.loads(stored)
    for name in ("timestamp", "occurred_at"):
        value = state.get(name)
        if isinstance(value, dict):
            state[name] = datetime.fromisoformat(value["_data_"])
    _upcast(event_class, state, position)
    state["originator_id"] = originator_id
    state["originator_version"] = originator_version
    # As the library's mapper does: an event read back is not validated a second time.
    event = object.__new__(event_class)
    object.__setattr__(event, "__dict__", state)
    return RecordedEvent(Position(position), event)


def _upcast(
    event_class: type[ConsentChanged], state: dict[str, Any], position: int
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
