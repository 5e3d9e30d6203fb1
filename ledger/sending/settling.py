"""Settling one text: asking Twilio what became of it, and recording the answer.

Never sends. Safe to repeat, and for two processes at once: what is recorded counts once
by the text and its state. Where Twilio's messages cannot tell, ``unknown`` is recorded,
and what Twilio says of it later still counts.
"""

import logging
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import NamedTuple, assert_never

from ledger.command_handler import CommandHandler
from ledger.domain.consent import evolve, nobody
from ledger.domain.ids import PhoneNumber
from ledger.domain.messages import StatusReport
from ledger.domain.sending import permission
from ledger.domain.signals import Evidence
from ledger.generations import person_now
from ledger.observations import SettledOutcome, count_arrival, count_settled
from ledger.sending.matching import CLOCKS_APART_MAX, Wanted, match
from ledger.sending.sent import record_sent, sent_report
from ledger.sending.texts import RequestedText, read_texts
from ledger.store.event_store import EventStore
from ledger.store.keyring import Keyring
from ledger.twilio import messages
from ledger.twilio.account import TwilioAccount
from ledger.twilio.messages import ShownMessage

log = logging.getLogger(__name__)

ACTOR = "settle"

_SAYS = {
    "failed": "Twilio shows no message that could be this one: it was not sent.",
    "unknown": "Twilio shows messages of which any or none may be this one.",
    "endless": "Twilio shows more messages to the number than are looked through.",
    "canceled": "The number opted out, or was erased, before the text was due.",
}


class Tools(NamedTuple):
    """What settling works with."""

    handler: CommandHandler
    store: EventStore
    keyring: Keyring
    account: TwilioAccount
    send_seconds_max: float


async def settle(
    tools: Tools, text: RequestedText, unsettled: Iterable[RequestedText]
) -> SettledOutcome | None:
    """Find out whether Twilio has a text, and record it.

    ``unsettled`` are all that are open, this one too. None where another process has
    found it out meanwhile.

    Raises:
        TwilioRefused, TwilioUnavailable: it does not say now.
        StoreUnavailable: it is not recorded. Safe to try again.
    """
    number = _number(text)
    unsettled = list(unsettled)
    wanted = _wanted(tools, text, unsettled)
    others = [
        _wanted(tools, other, unsettled)
        for other in unsettled
        if _pair(other) == _pair(text) and _words(other) != _words(text)
    ]
    since = wanted.since - CLOCKS_APART_MAX
    shown, is_whole = await messages.messages_to(tools.account, wanted.to, since)
    taken = await _taken(tools, shown)
    # After what is taken was read: another process may have taken ours, for this text,
    # and then there seems to be none.
    if not await _is_unsettled(tools, text):
        return None
    found = match(wanted, shown, taken, others)
    match found:
        case ShownMessage():
            return await _record_sent(tools, text, number, found)
        case "absent" if is_whole:
            return await _record(tools, text, "failed", "not_sent", says="failed")
        case "absent":
            return await _record(tools, text, "unknown", "unknown", says="endless")
        case "unknown":
            return await _record(tools, text, "unknown", "unknown", says="unknown")
        case _:
            assert_never(found)


async def _is_unsettled(tools: Tools, text: RequestedText) -> bool:
    message_id = text.message.id
    texts = await read_texts(tools.store, tools.keyring, [message_id])
    return texts[message_id].is_unsettled


async def has_opted_out(tools: Tools, text: RequestedText) -> bool:
    """Whether the person has been out for the sender since the text was asked for.

    An opt-in since then allows other texts, and not this one.
    """
    person = await person_now(tools.store, tools.keyring, _number(text))
    now = person.subject
    subject = nobody(now.id, suppressed=now.suppressed)
    for position, event in person.events:
        subject = evolve(subject, event)
        if position > text.position:
            found = permission(subject, text.sender, to_unknown=True)
            if found.status == "out":
                return True
    return False


async def cancel(tools: Tools, text: RequestedText) -> SettledOutcome:
    """See that a scheduled text is not sent, and record what became of it.

    Raises:
        TwilioRefused, TwilioUnavailable: it is not known to be canceled.
        StoreUnavailable: it is not recorded. Safe to try again.
    """
    number = _number(text)
    assert text.sid is not None, "only what Twilio has is scheduled"  # noqa: S101
    shown = await messages.cancel(tools.account, text.sid)
    if shown.status == "canceled":
        return await _record(tools, text, "canceled", "canceled", says="canceled")
    await _report(tools, text, number, shown.status, {"MessageStatus": shown.status})
    return _counted(text, "too_late")


def _wanted(
    tools: Tools, text: RequestedText, unsettled: Iterable[RequestedText]
) -> Wanted:
    equals = sorted(
        other.position
        for other in unsettled
        if _pair(other) == _pair(text) and _words(other) == _words(text)
    )
    until = text.requested_at + timedelta(seconds=tools.send_seconds_max)
    return Wanted(
        to=text.content_field("to") or _number(text),
        sender=text.sender,
        body=text.content_field("body"),
        since=text.requested_at,
        until=until,
        equals_before=equals.index(text.position),
        equals=len(equals),
    )


def _pair(text: RequestedText) -> tuple[object, ...]:
    return (text.phone_number, text.sender)


def _words(text: RequestedText) -> str | None:
    """Texts of a pair with the same cannot be told apart at Twilio but by time."""
    body = text.content_field("body")
    return body and body.strip()


async def _taken(tools: Tools, shown: Sequence[ShownMessage]) -> set[str]:
    """The SIDs that the ledger has already, as some other text's."""
    identity = await tools.keyring.identity()
    top = f"twilio:{tools.account.sid}"
    keys = {
        message.sid: identity.signal_key(f"{top}:{message.sid}") for message in shown
    }
    found = await tools.store.positions_of(list(keys.values()))
    return {sid for sid, key in keys.items() if key in found}


async def _record_sent(
    tools: Tools, text: RequestedText, number: PhoneNumber, shown: ShownMessage
) -> SettledOutcome:
    report = sent_report(
        tools.account.sid,
        text.content_field("name") or "",
        shown,
        phone_number=number,
        sender=text.sender,
        actor=ACTOR,
    )._replace(source="reconcile")
    await record_sent(tools.handler, tools.store, tools.keyring, report)
    return _counted(text, "sent")


async def _record(
    tools: Tools,
    text: RequestedText,
    status: str,
    outcome: SettledOutcome,
    *,
    says: str,
) -> SettledOutcome:
    await _report(tools, text, _number(text), status, {"statement": _SAYS[says]})
    return _counted(text, outcome)


async def _report(
    tools: Tools,
    text: RequestedText,
    number: PhoneNumber,
    status: str,
    evidence: Evidence,
) -> None:
    report = StatusReport(
        message_id=text.message.id,
        phone_number=number,
        status=status,
        error_code=None,
        source="reconcile",
        actor=ACTOR,
        evidence=evidence,
        sender=text.sender,
    )
    count_arrival(report, await tools.handler.handle(report))


def _counted(text: RequestedText, outcome: SettledOutcome) -> SettledOutcome:
    count_settled(outcome)
    log.info("settled", extra={"message_id": str(text.message.id), "outcome": outcome})
    return outcome


def _number(text: RequestedText) -> PhoneNumber:
    assert text.phone_number is not None, "who is erased is not asked about"  # noqa: S101
    return text.phone_number
