"""Texts that were asked for here, as their streams tell them, with what was to be sent.

Reads the ledger and never a projection, which may lag. The subtle part is what is gone:
of somebody who was erased there is no number, and no SID to ask Twilio by.
"""

from collections.abc import Collection
from datetime import datetime
from typing import Final, NamedTuple

from ledger.domain.events import (
    MessageEvent,
    MessageRequested,
    MessageSent,
    MessageStatusChanged,
)
from ledger.domain.ids import MessageId, PhoneNumber, Position, Sender, Version
from ledger.domain.messages import Message, fold, unwritten
from ledger.domain.signals import Evidence
from ledger.store.codec import RecordedEvent
from ledger.store.event_store import EventStore
from ledger.store.keyring import Keyring, Opened

_WITH_TWILIO: Final = frozenset(("accepted", "scheduled"))


class RequestedText(NamedTuple):
    """A text that somebody asked us to send."""

    message: Message
    sender: Sender
    position: Position
    """Of the request."""
    requested_at: datetime
    phone_number: PhoneNumber | None
    """None where the person was erased."""
    content: Evidence | None
    """What was to be sent; None where it was destroyed."""
    sid: str | None

    @property
    def is_unsettled(self) -> bool:
        """Whether it is not known what Twilio has done."""
        return self.message.status == "requested"

    def is_due_after(self, now: datetime) -> bool:
        """Whether it is to be sent later than that."""
        return self.message.send_at is not None and self.message.send_at > now

    def is_scheduled(self, now: datetime) -> bool:
        """Whether Twilio keeps it until later, and would cancel it."""
        is_kept = self.sid is not None and self.message.status in _WITH_TWILIO
        return is_kept and self.is_due_after(now)

    def content_field(self, name: str) -> str | None:
        """A part of what was to be sent."""
        value = (self.content or {}).get(name)
        return value if isinstance(value, str) else None


async def read_texts(
    store: EventStore, keyring: Keyring, ids: Collection[MessageId]
) -> dict[MessageId, RequestedText]:
    """Those of the texts that were asked for here.

    Raises:
        UnknownEvent: one has an event that this release does not know.
        StoreUnavailable: the database cannot be read now.
    """
    streams = await store.read_streams(dict.fromkeys(ids, Version(0)))
    ours = {
        message_id: stream.events
        for message_id, stream in streams.items()
        if stream.events and isinstance(stream.events[0].event, MessageRequested)
    }
    personal = [
        event
        for events in ours.values()
        for _, event in events
        if isinstance(event, MessageEvent)
    ]
    opened = dict(zip(map(id, personal), await keyring.opened(personal), strict=True))
    return {i: _text(i, events, opened) for i, events in ours.items()}


def _text(
    message_id: MessageId, events: list[RecordedEvent], opened: dict[int, Opened]
) -> RequestedText:
    message = unwritten(message_id)
    for _, event in events:
        message = fold(message, event)
    position, request = events[0]
    assert isinstance(request, MessageRequested)  # noqa: S101 - read_texts has looked
    asked = opened[id(request)]
    return RequestedText(
        message=message,
        sender=request.sender,
        position=position,
        requested_at=request.recorded_at,
        phone_number=asked.phone_number,
        content=asked.evidence,
        sid=_sid(events, opened),
    )


def _sid(events: list[RecordedEvent], opened: dict[int, Opened]) -> str | None:
    """By Twilio's answer, else by what it has told us since."""
    for _, event in events:
        known = opened.get(id(event))
        if isinstance(event, MessageSent) and known and known.sid:
            return known.sid
    for _, event in events:
        known = opened.get(id(event))
        if isinstance(event, MessageStatusChanged) and known and known.evidence:
            sid = known.evidence.get("MessageSid")
            if isinstance(sid, str):
                return sid
    return None
