"""Sending a text: recorded with the check that allows it, then Twilio, then recorded.

Never asks Twilio twice for one wish. The subtle part is a crash, and a Twilio that does
not say: then the text stays ``requested``, which anybody can see, and ``settling`` asks
Twilio what became of it. A repeat of the wish finds it there, and sends nothing.
"""

import asyncio
import logging
import uuid
from contextlib import AsyncExitStack
from datetime import datetime
from types import TracebackType
from typing import Final, NamedTuple, Self

from ledger.command_handler import CommandHandler
from ledger.domain.ids import MessageId, PhoneNumber, Sender
from ledger.domain.messages import (
    BLOCKED,
    SendRequest,
    StatusReport,
    block_signal,
    status_key,
)
from ledger.domain.signals import Evidence
from ledger.errors import (
    IdempotencyKeyReused,
    QueueFull,
    TwilioRefused,
    TwilioUnavailable,
)
from ledger.observations import count_arrival
from ledger.sending.sent import record_sent, sent_report
from ledger.sending.texts import RequestedText, read_texts
from ledger.settings import Settings
from ledger.store.event_store import EventStore
from ledger.store.keyring import Keyring
from ledger.twilio.account import TwilioAccount, open_account
from ledger.twilio.messages import SERVICE_PREFIX, OutgoingText, ShownMessage, send
from ledger.twilio.receivers import STATUS_PATH
from ledger.twilio.transport import Pause

log = logging.getLogger(__name__)

_BUSY: Final = 20429
_NOT_COMPARED: Final = ("attempt",)


class Wish(NamedTuple):
    """A text that somebody wants to be sent."""

    key: str | None
    """The caller's name for it: the same key is the same text. None makes one."""
    phone_number: PhoneNumber
    to: str
    """The number with its channel."""
    sender: Sender
    content: Evidence
    """``body``, or ``contentSid`` with ``contentVariables``, as text."""
    actor: str
    send_at: datetime | None = None


class Sent(NamedTuple):
    """The text of a wish, as it is now."""

    text: RequestedText
    is_new: bool
    """False where the wish is a repeat."""


class Sending:
    """Sends texts from one account. Use as ``async with``."""

    def __init__(
        self,
        handler: CommandHandler,
        store: EventStore,
        keyring: Keyring,
        settings: Settings,
        *,
        pause: Pause = asyncio.sleep,
    ) -> None:
        self._handler = handler
        self._store = store
        self._keyring = keyring
        self._settings = settings
        self._pause = pause
        self._stack = AsyncExitStack()
        self._under_way = 0
        self._account: TwilioAccount

    async def __aenter__(self) -> Self:
        """Open the way to Twilio; nothing is asked of it yet."""
        # A try that could not be made in time is not waited for: then it is known that
        # Twilio does not have the text.
        seconds = self._settings.send_seconds_max
        opened = open_account(
            self._settings, call_seconds_max=seconds, pause=self._pause
        )
        self._account = await self._stack.enter_async_context(opened)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close every connection."""
        await self._stack.aclose()

    @property
    def account(self) -> TwilioAccount:
        """The account that texts are sent from."""
        return self._account

    async def send(self, wish: Wish) -> Sent:
        """Send a text, if the ledger allows it; a repeat answers with the same text.

        Raises:
            NotAllowed: the person is out for that sender, or nothing is known.
            IdempotencyKeyReused: the key was used for another text.
            QueueFull: too many texts are being sent, or too much is waiting.
            StoreUnavailable: not recorded, or what Twilio said is not. After either it
                is safe to send again with the same key, and with no other.
        """
        if self._under_way >= self._settings.sends_max:
            raise QueueFull(f"{self._under_way} texts are being sent")
        self._under_way += 1
        try:
            return await self._send(wish)
        finally:
            self._under_way -= 1

    async def _send(self, wish: Wish) -> Sent:
        name = f"send:{wish.key or uuid.uuid4()}"
        message_id = (await self._keyring.identity()).message_id(name)
        request = self._request(wish, name)
        receipt = await self._handler.handle(request)
        count_arrival(request, receipt)
        is_new = receipt.is_new
        if not is_new:
            before = await self._read(message_id)
            _refuse_other(request, before)
            # Committed by us, though the connection was lost before it said so.
            is_new = _attempt(before.content) == _attempt(request.evidence)
        if is_new:
            # From here on the wish is durable. A crash leaves it ``requested``, and
            # ``settling`` finds out whether Twilio has it.
            await self._deliver(message_id, name, wish)
        return Sent(await self._read(message_id), is_new)

    def _request(self, wish: Wish, name: str) -> SendRequest:
        return SendRequest(
            key=name,
            name=name,
            phone_number=wish.phone_number,
            sender=wish.sender,
            address=None if wish.sender.startswith(SERVICE_PREFIX) else wish.sender,
            evidence={
                "to": wish.to,
                **wish.content,
                # By which settling finds the stream again, and nobody else.
                "name": name,
                "attempt": uuid.uuid4().hex,
            },
            actor=wish.actor,
            send_at=wish.send_at,
            may_be_unknown=self._settings.send_to_unknown,
        )

    async def _deliver(self, message_id: MessageId, name: str, wish: Wish) -> None:
        try:
            # Nobody may be asking Twilio still when it is asked what became of it.
            async with asyncio.timeout(self._settings.send_seconds_max):
                shown = await send(self._account, self._outgoing(message_id, wish))
        except TwilioRefused as refusal:
            code = refusal.twilio_code
            said = {"errorCode": code, "httpStatus": refusal.status}
            await self._record_failure(message_id, wish, code, said)
        except (TwilioUnavailable, TimeoutError) as error:
            if not isinstance(error, TwilioUnavailable) or error.may_be_done:
                # Left open. Never sent again: Twilio may have it.
                fields = {"message_id": str(message_id), "error": type(error).__name__}
                log.warning("send_unknown", extra=fields)
                return
            code = _BUSY if error.code == "twilio_busy" else None
            reason = {"errorCode": code, "reason": error.code}
            await self._record_failure(message_id, wish, code, reason)
        else:
            await self._record_sent(name, wish, shown)

    def _outgoing(self, message_id: MessageId, wish: Wish) -> OutgoingText:
        callback = status_callback(self._settings)
        if callback is not None:
            callback = f"{callback}?message={message_id}"
        return OutgoingText(
            to=wish.to,
            sender=wish.sender,
            body=_string(wish.content.get("body")),
            content_sid=_string(wish.content.get("contentSid")),
            content_variables=_string(wish.content.get("contentVariables")),
            send_at=wish.send_at,
            status_callback=callback,
        )

    async def _record_sent(self, name: str, wish: Wish, shown: ShownMessage) -> None:
        report = sent_report(
            self._account.sid,
            name,
            shown,
            phone_number=wish.phone_number,
            sender=wish.sender,
            actor=wish.actor,
        )
        await record_sent(self._handler, self._store, self._keyring, report)

    async def _record_failure(
        self,
        message_id: MessageId,
        wish: Wish,
        code: int | None,
        evidence: Evidence,
    ) -> None:
        signal = None
        if code == BLOCKED:
            key = status_key(message_id, "failed")
            signal = block_signal(key, wish.phone_number, wish.sender, evidence)
        report = StatusReport(
            message_id=message_id,
            phone_number=wish.phone_number,
            status="failed",
            error_code=code,
            source="api",
            actor=wish.actor,
            evidence=evidence,
            sender=wish.sender,
            signal=signal,
        )
        count_arrival(report, await self._handler.handle(report))

    async def _read(self, message_id: MessageId) -> RequestedText:
        return (await read_texts(self._store, self._keyring, [message_id]))[message_id]


def status_callback(settings: Settings) -> str | None:
    """Where Twilio reports what becomes of a text; None where it could not reach us."""
    if settings.public_url is None:
        return None
    return f"{settings.signed_url}{STATUS_PATH}"


def _refuse_other(request: SendRequest, before: RequestedText) -> None:
    """A repeat must be of the same text, as far as that is still known.

    Content that was destroyed is not compared. A number that was erased is no more the
    one that is asked for: it may be another's.
    """
    if before.phone_number is None:
        raise IdempotencyKeyReused("it asked for a text to a number that was erased")
    same = (before.sender, before.message.send_at) == (request.sender, request.send_at)
    if before.content is not None:
        same = same and _compared(before.content) == _compared(request.evidence)
    if not same:
        raise IdempotencyKeyReused(f"it asked for the text of {before.position}")


def _compared(content: Evidence) -> Evidence:
    return {n: v for n, v in content.items() if n not in _NOT_COMPARED}


def _attempt(content: Evidence | None) -> object:
    return (content or {}).get("attempt")


def _string(value: object) -> str | None:
    return value if isinstance(value, str) else None
