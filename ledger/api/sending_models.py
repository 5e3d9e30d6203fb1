"""The shapes of ``POST /Messages``: what is to be sent, and what became of it."""

from datetime import datetime
from typing import Literal, Self

from pydantic import ConfigDict, Field, model_validator

from ledger.api.models import Instant, SenderField, Shape

_TO = r"^([a-z]+:)?\+[1-9][0-9]{6,14}$"


class MessageInput(Shape):
    """A text to be sent: ``body`` or ``contentSid``, from one sender."""

    model_config = ConfigDict(extra="forbid")

    to: str = Field(max_length=64, pattern=_TO)
    """The number, as E.164, with its channel if it is not a text: `whatsapp:+1…`."""
    body: str | None = Field(None, min_length=1, max_length=1600)
    content_sid: str | None = Field(None, pattern=r"^HX[0-9a-fA-F]{32}$")
    """A template at Twilio, in place of `body`."""
    content_variables: dict[str, str] | None = None
    """What the template's places are filled with."""
    from_: SenderField | None = Field(None, alias="from")
    """One of the account's addresses."""
    messaging_service_sid: str | None = Field(None, pattern=r"^MG[0-9a-fA-F]{32}$")
    """A Messaging Service, in place of `from`."""
    send_at: Instant | None = None
    """When Twilio is to send it; with a Messaging Service alone."""

    @model_validator(mode="after")
    def _is_one_text_of_one_sender(self) -> Self:
        if (self.body is None) == (self.content_sid is None):
            raise ValueError("give body or contentSid, one of the two")
        if self.content_variables is not None and self.content_sid is None:
            raise ValueError("contentVariables is for contentSid")
        if self.from_ is not None and self.messaging_service_sid is not None:
            raise ValueError("give from or messagingServiceSid, not both")
        return self


class OutgoingMessage(Shape):
    """A text that was asked for, as the ledger has it now."""

    id: str
    """Names it here, also where Twilio has given no SID."""
    sid: str | None
    direction: Literal["outgoing"] = "outgoing"
    to: str
    from_: str | None = Field(alias="from")
    """None where a Messaging Service picks the address."""
    sender: str
    """For whom consent was looked at."""
    status: str
    """`requested` where it is not known whether Twilio has it."""
    error_code: int | None
    send_at: datetime | None
    requested_at: datetime
    position: int
    """Of the request in the ledger."""
