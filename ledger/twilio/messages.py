"""Messages at Twilio: send one, look at one, list those to a number, cancel one.

Never repeats a call that Twilio may have carried out: ``send`` that fails with
``may_be_done`` leaves it open whether the text is on its way, and nobody but Twilio can
say. The subtle part is asking for it: a message that is scheduled has no DateSent, by
which Twilio's list is filtered, so that all of a number's are read and picked here.
"""

from collections.abc import AsyncIterator
from datetime import datetime
from functools import partial
from typing import Any, Final, NamedTuple

from twilio.base import values

from ledger.errors import TwilioRefused
from ledger.twilio.account import (
    TwilioAccount,
    check_sid,
    records,
    translated,
    understood,
)

SERVICE_PREFIX: Final = "MG"
LISTED_MAX: Final = 5_000
"""How many messages to one number are looked through at most, as Twilio lists them."""

_NOT_CANCELABLE: Final = 30409


class OutgoingText(NamedTuple):
    """What Twilio is to send, and to whom."""

    to: str
    sender: str
    """One of our addresses, or the SID of a Messaging Service."""
    body: str | None
    content_sid: str | None = None
    content_variables: str | None = None
    send_at: datetime | None = None
    """When Twilio is to send it; only a Messaging Service does that."""
    status_callback: str | None = None


class ShownMessage(NamedTuple):
    """A message as Twilio shows it."""

    sid: str
    status: str
    direction: str
    to: str
    from_: str | None
    service_sid: str | None
    body: str
    error_code: int | None
    created_at: datetime | None

    @property
    def is_incoming(self) -> bool:
        """Whether it was sent to us."""
        return self.direction == "inbound"


class Listed(NamedTuple):
    """Messages to a number."""

    messages: list[ShownMessage]
    is_whole: bool
    """False where there are more than were looked through."""


async def send(account: TwilioAccount, text: OutgoingText) -> ShownMessage:
    """Have Twilio send a text, or send it later; once.

    Raises:
        TwilioRefused: it does not; ``twilio_code`` says why.
        TwilioUnavailable: with ``may_be_done`` it is not known, else it does not.
    """
    is_service = text.sender.startswith(SERVICE_PREFIX)
    asked = account.client.messages.create_async(
        to=text.to,
        body=_given(text.body),
        from_=values.unset if is_service else text.sender,
        messaging_service_sid=text.sender if is_service else values.unset,
        content_sid=_given(text.content_sid),
        content_variables=_given(text.content_variables),
        send_at=_given(text.send_at),
        schedule_type="fixed" if text.send_at else values.unset,
        status_callback=_given(text.status_callback),
    )
    return _shown(await understood(asked))


async def fetch(account: TwilioAccount, sid: str) -> ShownMessage:
    """One message, by its SID.

    Raises:
        InvalidRequest: it is no message's SID.
        TwilioRefused, TwilioUnavailable: Twilio does not show it.
    """
    return _shown(await understood(_context(account, sid).fetch_async()))


async def messages_to(account: TwilioAccount, to: str, since: datetime) -> Listed:
    """Every message to a number that Twilio has made since then, scheduled ones too.

    Raises:
        TwilioRefused, TwilioUnavailable: a page cannot be had.
    """
    found: list[ShownMessage] = []
    page = partial(account.client.messages.page_async, to=to)
    async for number, message in _numbered(records(page)):
        if number > LISTED_MAX:
            return Listed(found, is_whole=False)
        if message.created_at is None or message.created_at >= since:
            found.append(message)
    return Listed(found, is_whole=True)


async def cancel(account: TwilioAccount, sid: str) -> ShownMessage:
    """See that a scheduled message is not sent; as it is then, canceled or too late.

    Raises:
        TwilioRefused, TwilioUnavailable: Twilio did not say. Safe to try again.
    """
    context = _context(account, sid)
    try:
        return _shown(await understood(context.update_async(status="canceled")))
    except TwilioRefused as refusal:
        if refusal.twilio_code != _NOT_CANCELABLE:
            raise
    return await fetch(account, sid)


async def _numbered(
    found: AsyncIterator[Any],
) -> AsyncIterator[tuple[int, ShownMessage]]:
    number = 0
    async for record in found:
        number += 1
        yield number, _shown(record)


def _context(account: TwilioAccount, sid: str) -> Any:  # noqa: ANN401
    check_sid("MM" if sid.startswith("MM") else "SM", sid)
    return account.client.messages(sid)


def _shown(found: Any) -> ShownMessage:  # noqa: ANN401
    with translated():
        code = found.error_code
        return ShownMessage(
            sid=_text(found.sid),
            status=_text(found.status),
            direction=str(found.direction),
            to=str(found.to),
            from_=found.from_,
            service_sid=found.messaging_service_sid,
            body=str(found.body or ""),
            error_code=int(code) if code else None,
            created_at=found.date_created,
        )


def _text(value: object) -> str:
    """What a document must have.

    Raises:
        ValueError: it has not.
    """
    if not isinstance(value, str) or not value:
        raise ValueError
    return value


def _given(value: Any) -> Any:  # noqa: ANN401
    return values.unset if value is None else value
