"""The shapes of ``GET /Messages``: a text, and what became of it."""

from datetime import datetime
from typing import Literal

from pydantic import Field, JsonValue

from ledger.api.models import Shape


class MessageRecord(Shape):
    """A text, in or out, and what became of it."""

    id: str
    """Names it here, also where Twilio has given no SID."""
    sid: str | None
    """Twilio's name for it."""
    direction: Literal["incoming", "outgoing"]
    to: str | None
    """The person's number, or our address; null where it is not known."""
    from_: str | None = Field(alias="from")
    """The other of the two."""
    counterparty: str
    """The person's number."""
    sender: str | None
    """Whom a consent in it is about: the Messaging Service, else our address."""
    status: str
    """The furthest that was told, in Twilio's words; `requested` where Twilio may not
    have it."""
    error_code: int | None
    """Twilio's error code, of that status."""
    send_at: datetime | None
    """When it is to be sent, where that is not at once."""
    occurred_at: datetime
    """When it came, or was asked for."""
    updated_at: datetime
    """When the newest event about it was recorded."""
    position: int
    """Of its first event in the ledger."""
    version: int
    """How many events it has."""


class MessageEventRecord(Shape):
    """Something that happened to a text."""

    position: int
    kind: str
    status: str
    error_code: int | None
    source: str | None
    """Whence it is known; null of a request."""
    actor: str
    occurred_at: datetime
    recorded_at: datetime
    evidence: dict[str, JsonValue] | None
    """What was sent, answered or reported; null where it was destroyed."""


class MessageDetails(MessageRecord):
    """A text, as an auditor sees it."""

    body: str | None
    """What it says; null where it was destroyed, or never told."""
    events: list[MessageEventRecord]
