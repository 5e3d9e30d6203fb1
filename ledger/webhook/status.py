"""``/twilio/message-status``: what became of an outgoing text, as Twilio reports it.

Answered once it is durable, whatever it says: Twilio reports in any order, more than
once, also before our call that sent the text has returned, and of texts that others
have sent. Which text it is stands in the URL that we gave with it; else its SID says.
The subtle part is error 21610: Twilio blocks the pair, and that is an ``out``, recorded
with the status in one transaction.
"""

import logging
import re
from typing import Final, NamedTuple
from uuid import RFC_4122, UUID

from aiohttp import web

from ledger.domain.ids import (
    EVERY_SENDER,
    MessageId,
    PhoneNumber,
    Sender,
    canonical_number,
)
from ledger.domain.messages import BLOCKED, StatusReport, block_signal, status_key
from ledger.domain.signals import Evidence
from ledger.errors import UnusableText
from ledger.message_log import MessageLog
from ledger.webhook.parse import ADDRESS_CHARACTERS_MAX, evidence_of
from ledger.webhook.signature import Parameters, SignatureChecker
from ledger.webhook.verified import verified

log = logging.getLogger(__name__)

PATH: Final = "/twilio/message-status"

_STATUS: Final = re.compile(r"[a-z_]{1,32}", re.ASCII)
_ERROR_CODE: Final = re.compile(r"[0-9]{1,9}", re.ASCII)
_OURS: Final = 8
"""The version of the UUIDs that we make."""


class Callback(NamedTuple):
    """One report of Twilio's."""

    account_sid: str
    sid: str
    status: str
    error_code: int | None
    phone_number: PhoneNumber
    sender: Sender | None
    address: str | None
    evidence: Evidence

    def report(self, message_id: MessageId) -> StatusReport:
        """As it is recorded, of that text."""
        signal = None
        if self.error_code == BLOCKED:
            signal = block_signal(
                status_key(message_id, self.status),
                self.phone_number,
                self.sender or EVERY_SENDER,
                self.evidence,
            )
        return StatusReport(
            message_id=message_id,
            phone_number=self.phone_number,
            status=self.status,
            error_code=self.error_code,
            source="twilio.status",
            actor="twilio",
            evidence=self.evidence,
            sender=self.sender,
            address=self.address,
            sid=self.sid,
            signal=signal,
        )


class StatusWebhook:
    """Twilio's status callback."""

    def __init__(self, checker: SignatureChecker, messages: MessageLog) -> None:
        self._checker = checker
        self._messages = messages

    def routes(self) -> list[web.RouteDef]:
        """POST, as Twilio does it."""
        return [web.post(PATH, self.receive)]

    async def receive(self, request: web.Request) -> web.Response:
        """Record a status.

        Raises:
            InvalidSignature: it is not Twilio's; nothing was recorded.
            UnusableText: it is Twilio's, and names no text, person or status.
            StoreUnavailable, QueueFull: not durable; Twilio may try again.
        """
        parameters = await verified(self._checker, request)
        try:
            callback = parse_status(parameters)
        except UnusableText as error:
            names = sorted({name for name, _ in parameters})
            log.warning("unusable_text", extra={"reason": str(error), "names": names})
            raise
        message_id = named_message(request.query.get("message", ""))
        if message_id is None:
            message_id = await self._found(callback)
        await self._messages.record(callback.report(message_id))
        return web.Response(status=204)

    async def _found(self, callback: Callback) -> MessageId:
        """The text by its SID, or a new one."""
        sids = (callback.account_sid, callback.sid)
        found = await self._messages.find(*sids)
        return found or await self._messages.message_id(":".join(sids))


def parse_status(parameters: Parameters) -> Callback:
    """What a callback says.

    Raises:
        UnusableText: it names no text, person or status, or one that cannot be kept.
    """
    fields = dict(reversed(parameters))
    sid = _field(fields, "MessageSid") or _field(fields, "SmsSid")
    status = _field(fields, "MessageStatus") or _field(fields, "SmsStatus")
    to, address = _field(fields, "To"), _field(fields, "From")
    if not sid or not to:
        raise UnusableText("To and MessageSid are needed")
    if not _STATUS.fullmatch(status.lower()):
        raise UnusableText("MessageStatus is no status")
    code = _field(fields, "ErrorCode")
    # A number that texts itself names nobody; it would stay in clear, for ever.
    ours = address if address not in (to, EVERY_SENDER) else ""
    sender = _field(fields, "MessagingServiceSid") or ours
    return Callback(
        account_sid=_field(fields, "AccountSid"),
        sid=sid,
        status=status.lower(),
        error_code=int(code) if _ERROR_CODE.fullmatch(code) and int(code) else None,
        phone_number=canonical_number(to),
        sender=Sender(sender) if sender else None,
        address=ours or None,
        evidence=evidence_of(parameters, fields, to),
    )


def named_message(given: str) -> MessageId | None:
    """The text that our own URL names; None where it names none of ours."""
    try:
        found = UUID(given)
    except ValueError:
        return None
    is_ours = found.variant == RFC_4122 and found.version == _OURS
    return MessageId(found) if is_ours else None


def _field(fields: dict[str, str], name: str) -> str:
    value = fields.get(name, "").strip().replace("\0", "\N{REPLACEMENT CHARACTER}")
    if len(value) > ADDRESS_CHARACTERS_MAX:
        raise UnusableText(f"{name} has more than {ADDRESS_CHARACTERS_MAX} characters")
    return value
