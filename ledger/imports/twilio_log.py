"""What a message of Twilio's log says, as the webhook would have heard it.

Pure. An inbound text is read by the very function that reads the webhook's requests and
has the same key, so it counts once however it comes in. An outgoing one that Twilio has
refused with 21610 is evidence that Twilio blocks the pair, and no proof of a STOP.
Never guesses at what Twilio does not have any more: a body that is gone, a number that
is masked.
"""

import re
from typing import Final

from ledger.domain.classify import Vocabulary
from ledger.domain.evidence import checked_evidence
from ledger.domain.ids import (
    EVERY_SENDER,
    MessageId,
    PhoneNumber,
    Sender,
    canonical_number,
)
from ledger.domain.messages import (
    BLOCKED,
    StatusReport,
    Text,
    block_signal,
    status_key,
)
from ledger.errors import InvalidConsent, UnusableText
from ledger.imports.interpret import Skipped
from ledger.imports.refusals import RowRefused
from ledger.twilio.log import Logged
from ledger.webhook.parse import parse_text

_MASKED: Final = re.compile(r"\+?[0-9]*X{2,}", re.IGNORECASE | re.ASCII)


def interpret(logged: Logged, vocabulary: Vocabulary) -> Text | Skipped:
    """An inbound text, with what it says of consent.

    Raises:
        RowRefused: it cannot be recorded.
    """
    if not logged.is_inbound:
        return Skipped("otherDirection")
    if not (logged.body or logged.media):
        return Skipped("bodyGone")
    _check_masked(logged.from_)
    try:
        text = parse_text(_parameters(logged), vocabulary)
        evidence = checked_evidence({**text.evidence, "import": _origin(logged)})
    except UnusableText as error:
        raise RowRefused("unusable_text", str(error)) from None
    except InvalidConsent as error:
        raise RowRefused("invalid_evidence", str(error)) from None
    signal = text.signal and text.signal._replace(
        occurred_at=logged.at, source="twilio.import", evidence=evidence
    )
    return text._replace(
        occurred_at=logged.at, source="twilio.import", evidence=evidence, signal=signal
    )


def is_block(logged: Logged) -> bool:
    """Whether Twilio has refused to send it because it blocks the pair."""
    return not logged.is_inbound and logged.error_code == BLOCKED


def interpret_block(logged: Logged, message_id: MessageId) -> StatusReport:
    """What became of a message that was refused, and what that says of consent.

    Under the key of that status, as Twilio's callback has it.

    Raises:
        RowRefused: it cannot be recorded.
    """
    if not logged.to:
        raise RowRefused("unusable_text", "the message is to nobody")
    _check_masked(logged.to)
    number: PhoneNumber = canonical_number(logged.to)
    status = logged.status or "failed"
    sender = logged.service_sid or logged.from_
    evidence: dict[str, object] = {
        "MessageSid": logged.sid,
        "AccountSid": logged.account_sid,
        "From": logged.from_,
        "To": logged.to,
        "MessagingServiceSid": logged.service_sid,
        "MessageStatus": status,
        "ErrorCode": logged.error_code,
        "import": _origin(logged),
    }
    key = status_key(message_id, status)
    signal = block_signal(key, number, Sender(sender or EVERY_SENDER), evidence)
    return StatusReport(
        message_id=message_id,
        phone_number=number,
        status=status,
        error_code=logged.error_code,
        source="twilio.import",
        actor="twilio",
        evidence=evidence,
        sender=Sender(sender) if sender else None,
        address=logged.from_ or None,
        sid=logged.sid,
        signal=signal._replace(occurred_at=logged.at, source="twilio.import"),
        occurred_at=logged.at,
    )


def _parameters(logged: Logged) -> list[tuple[str, str]]:
    """By the names that the webhook's requests have."""
    given = [
        ("MessageSid", logged.sid),
        ("AccountSid", logged.account_sid),
        ("MessagingServiceSid", logged.service_sid),
        ("From", logged.from_),
        ("To", logged.to),
        ("Body", logged.body),
        ("NumMedia", str(logged.media)),
    ]
    return [(name, value) for name, value in given if value]


def _origin(logged: Logged) -> dict[str, object]:
    return {"source": "twilio", "dateSent": logged.at.isoformat()}


def _check_masked(number: str) -> None:
    if _MASKED.fullmatch(number):
        raise RowRefused(
            "redacted_number",
            "Twilio has masked the number: it stands for many, and is nobody's",
        )
