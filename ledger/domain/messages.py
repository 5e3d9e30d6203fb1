"""Texts, in and out: what arrived of them, what it adds to a text's own stream.

Pure, as ``consent`` is, which alone decides about consent: here a text that says
something of it carries a ``Signal``, and a text is asked for only where a person's
consent allows it. The subtle part is order: what became of a text is told in any order,
several times and by several sides; the furthest state wins, and all are kept.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

from ledger.domain.consent import Proposal, Subject
from ledger.domain.events import (
    LedgerEvent,
    MessageEvent,
    MessageReceived,
    MessageRequested,
    MessageSent,
    MessageStatusChanged,
)
from ledger.domain.ids import (
    MessageId,
    PhoneNumber,
    Sender,
    SubjectId,
    Version,
)
from ledger.domain.sending import permission
from ledger.domain.signals import Evidence, Incoming, Outgoing, Signal
from ledger.errors import NotAllowed

BLOCKED: Final = 21610
"""Twilio's error code: it blocks the pair of sender and number."""

BLOCK_STATEMENT: Final = (
    "Twilio refuses texts from this sender to this number (error 21610). That is "
    "Twilio's own block, and no proof that the person has sent a STOP: it stands also "
    "after an opt-out through Twilio's API, or where the number was reassigned."
)

Direction = Literal["incoming", "outgoing"]

_NOTHING: Final = Version(0)

_IN_ORDER: Final = (
    "requested",
    "unknown",
    "accepted",
    "scheduled",
    "queued",
    "sending",
    "sent",
    "canceled",
    "failed",
    "undelivered",
    "partially_delivered",
    "delivered",
    "read",
    "receiving",
    "received",
)
_RANKS: Final[Mapping[str, int]] = MappingProxyType(
    {status: rank for rank, status in enumerate(_IN_ORDER)}
)
ENDED: Final = frozenset(_IN_ORDER[_RANKS["canceled"] :])
"""The states after which nothing is due but, maybe, that it was read."""


class Text(NamedTuple):
    """An inbound text that arrived, and what it says of consent."""

    key: str
    """``twilio:<AccountSid>:<MessageSid>``, as its signal's."""
    name: str
    """What its stream is found by: ``<AccountSid>:<MessageSid>``."""
    phone_number: PhoneNumber
    sender: Sender | None
    address: str | None
    sid: str
    evidence: Evidence
    signal: Signal | None
    """What it says of consent, with the same key; None where it says nothing."""
    source: Incoming = "twilio.inbound"
    actor: str = "subject"
    occurred_at: datetime | None = None
    """None where that is when it is recorded."""


class SendRequest(NamedTuple):
    """Somebody wants a text to be sent."""

    key: str
    """Names the wish for ever: a repeat is answered with the first one's position."""
    name: str
    """What its stream is found by: the key it is sent under."""
    phone_number: PhoneNumber
    sender: Sender
    address: str | None
    evidence: Evidence
    """What is to be sent: body, content, media."""
    actor: str
    send_at: datetime | None = None
    may_be_unknown: bool = False
    """Whether it is to be sent also where nothing is known of consent."""


class SentReport(NamedTuple):
    """Twilio has an outgoing text, under a SID."""

    key: str
    """``twilio:<AccountSid>:<MessageSid>``."""
    name: str
    """What its stream is found by: that of its request, else its SID's."""
    phone_number: PhoneNumber
    sender: Sender | None
    address: str | None
    sid: str
    status: str
    error_code: int | None
    source: Outgoing
    actor: str
    evidence: Evidence
    """What Twilio answered."""
    signal: Signal | None = None
    """Of Twilio's block, with the same key."""
    occurred_at: datetime | None = None


class StatusReport(NamedTuple):
    """What became of an outgoing text, as Twilio or our own attempt says."""

    message_id: MessageId
    """The text's stream, by ``Identity.message_id`` or as our callback's URL says."""
    phone_number: PhoneNumber
    status: str
    error_code: int | None
    source: Outgoing
    actor: str
    evidence: Evidence
    sender: Sender | None = None
    """This and what follows is for a text that nobody here has sent."""
    address: str | None = None
    sid: str | None = None
    signal: Signal | None = None
    """Of Twilio's block, with the same key."""
    occurred_at: datetime | None = None
    """None where that is when it is recorded."""

    @property
    def key(self) -> str:
        """What makes it count once: the text and the status."""
        return status_key(self.message_id, self.status)


Arrival = Signal | Text | SendRequest | SentReport | StatusReport


class MessageProposal(NamedTuple):
    """An event of a text but for what only the store can give."""

    kind: type[MessageEvent]
    message_id: MessageId
    version: Version
    counterparty: SubjectId
    occurred_at: datetime | None
    fields: Mapping[str, object]
    """All but those with personal data."""
    personal: Mapping[str, str | Evidence | None]
    """Open; None where nothing is to be held."""


class Message(NamedTuple):
    """What is known of a text, as far as its stream has been read."""

    id: MessageId
    version: Version = _NOTHING
    counterparty: SubjectId | None = None
    direction: Direction = "outgoing"
    sender: Sender | None = None
    address: str | None = None
    status: str = "requested"
    error_code: int | None = None
    is_requested: bool = False
    is_sent: bool = False
    """Whether Twilio is known to have it."""
    is_blocked: bool = False
    """Whether somebody has told already that Twilio blocks the pair."""
    send_at: datetime | None = None


def unwritten(message_id: MessageId) -> Message:
    """A text of which nothing is recorded."""
    return Message(message_id)


def status_key(message_id: MessageId, status: str) -> str:
    """The signal key of a status: each counts once for a text."""
    return f"twilio-status:{message_id}:{status}"


def fold(message: Message, event: LedgerEvent) -> Message:
    """The text after one more event of its stream."""
    match event:
        case MessageReceived():
            begun = message._replace(direction="incoming", status="received")
            return _told(begun, event, event.sender, event.address)
        case MessageRequested():
            told = _told(message, event, event.sender, event.address)
            return told._replace(is_requested=True, send_at=event.send_at)
        case MessageSent():
            told = _told(message, event, event.sender, event.address)
            is_first = not (message.is_sent or message.is_requested or message.version)
            if is_first:
                told = told._replace(status=event.status, error_code=event.error_code)
            else:
                told = further(told, event.status, event.error_code)
            is_blocked = told.is_blocked or event.error_code == BLOCKED
            return told._replace(is_sent=True, is_blocked=is_blocked)
        case MessageStatusChanged():
            told = _told(message, event, message.sender, message.address)
            is_blocked = told.is_blocked or event.error_code == BLOCKED
            told = told._replace(is_blocked=is_blocked)
            return further(told, event.status, event.error_code)
        case _:
            return message._replace(version=event.version)


def further(message: Message, status: str, error_code: int | None) -> Message:
    """The text with a status that was told, if it is further than the one known."""
    known = (_rank(message.status), message.error_code or 0)
    if (_rank(status), error_code or 0) <= known:
        return message
    return message._replace(status=status, error_code=error_code)


def _rank(status: str) -> tuple[int, str]:
    """How far a text is; what Twilio may say one day, and we do not know, is least."""
    return _RANKS.get(status, -1), status


def _told(
    message: Message, event: MessageEvent, sender: Sender | None, address: str | None
) -> Message:
    return message._replace(
        version=event.version,
        counterparty=message.counterparty or event.counterparty,
        sender=message.sender or sender,
        address=message.address or address,
    )


def block_signal(
    key: str, phone_number: PhoneNumber, sender: Sender, evidence: Evidence
) -> Signal:
    """What a 21610 says of consent: ``out``, and not that anybody has said STOP."""
    return Signal(
        key=key,
        phone_number=phone_number,
        sender=sender,
        status="out",
        occurred_at=None,
        source="twilio.status",
        matched_by="error21610",
        actor="twilio",
        evidence={**evidence, "statement": BLOCK_STATEMENT},
    )


def decide_text(
    message: Message, subject: Subject, text: Text, consents: Iterable[Proposal]
) -> MessageProposal:
    """What to append of an inbound text, behind what it says of consent."""
    consent = next(iter(consents), None)
    return MessageProposal(
        MessageReceived,
        message.id,
        Version(message.version + 1),
        subject.id,
        text.occurred_at,
        fields={
            "sender": text.sender,
            "address": text.address,
            "source": text.source,
            "actor": text.actor,
            "consent_version": consent and consent.version,
        },
        personal={
            "phone_number": text.phone_number,
            "sid": text.sid,
            "evidence": None if consent else text.evidence,
        },
    )


def decide_request(
    message: Message, subject: Subject, request: SendRequest
) -> MessageProposal:
    """What to append before a text is sent.

    Raises:
        NotAllowed: the person is out for that sender, or nothing is known; says what
            decided.
    """
    found = permission(subject, request.sender, to_unknown=request.may_be_unknown)
    version = found.fact.version if found.fact else None
    if not found.is_given:
        raise NotAllowed(found.status, version)
    return MessageProposal(
        kind=MessageRequested,
        message_id=message.id,
        version=Version(message.version + 1),
        counterparty=subject.id,
        occurred_at=None,
        fields={
            "sender": request.sender,
            "address": request.address,
            "consent_status": found.status,
            "allowed_by": version,
            "send_at": request.send_at,
            "actor": request.actor,
        },
        personal={"phone_number": request.phone_number, "evidence": request.evidence},
    )


def decide_outgoing(
    message: Message,
    subject: Subject,
    report: SentReport | StatusReport,
    consents: Iterable[Proposal],
) -> MessageProposal:
    """What to append of what became of a text.

    A status of a text that is in nobody's books begins its stream: Twilio has it.
    """
    consent = next(iter(consents), None)
    counterparty = message.counterparty or subject.id
    # The key of who was erased since is gone, and what the new one seals is another's.
    is_theirs = counterparty == subject.id
    begins = isinstance(report, SentReport) or message.version == 0
    fields: dict[str, object] = {
        "status": report.status,
        "error_code": report.error_code,
        "source": report.source,
        "actor": report.actor,
        "consent_version": consent and consent.version,
    }
    personal: dict[str, str | Evidence | None] = {
        "evidence": report.evidence if is_theirs and not consent else None
    }
    if begins:
        fields |= {"sender": report.sender, "address": report.address}
        personal |= {
            "phone_number": report.phone_number if is_theirs else None,
            "sid": report.sid if is_theirs else None,
        }
    return MessageProposal(
        kind=MessageSent if begins else MessageStatusChanged,
        message_id=message.id,
        version=Version(message.version + 1),
        counterparty=counterparty,
        occurred_at=report.occurred_at,
        fields=fields,
        personal=personal,
    )


def assume(message: Message, proposal: MessageProposal) -> Message:
    """The text as it will be once ``proposal`` is recorded."""
    return message._replace(
        version=proposal.version,
        counterparty=proposal.counterparty,
        is_requested=message.is_requested or proposal.kind is MessageRequested,
        is_sent=message.is_sent or proposal.kind is MessageSent,
        is_blocked=message.is_blocked or proposal.fields.get("error_code") == BLOCKED,
    )
