"""That Twilio has a text of ours, under a SID: recorded, with what it has told before.

The subtle part is who hears of a text before its SID is known to be ours: a callback
that does not name the text, or a walk through Twilio's log. Either begins a record by
the SID alone, which stays, as all events do. What it says is told to ours too, and a
block that it has is not a second signal of consent.
"""

from ledger.command_handler import CommandHandler
from ledger.deciding import read_messages
from ledger.domain.ids import MessageId, PhoneNumber, Sender
from ledger.domain.messages import (
    BLOCKED,
    Message,
    SentReport,
    StatusReport,
    block_signal,
)
from ledger.observations import count_arrival
from ledger.store.event_store import EventStore
from ledger.store.keyring import Keyring
from ledger.twilio.messages import ShownMessage


async def record_sent(
    handler: CommandHandler, store: EventStore, keyring: Keyring, report: SentReport
) -> None:
    """Record it; what is told by the SID from then on is told of ours.

    Raises:
        StoreUnavailable, QueueFull: it is not known to be recorded.
    """
    identity = await keyring.identity()
    alone = identity.message_id(report.key.removeprefix("twilio:"))
    earlier = (await read_messages(store, [alone]))[alone]
    if earlier.is_blocked:
        report = report._replace(signal=None)
    count_arrival(report, await handler.handle(report))
    if earlier.version:
        told = _told(identity.message_id(report.name), report, earlier)
        count_arrival(told, await handler.handle(told))


def _told(message_id: MessageId, report: SentReport, earlier: Message) -> StatusReport:
    return StatusReport(
        message_id=message_id,
        phone_number=report.phone_number,
        status=earlier.status,
        error_code=earlier.error_code,
        source="reconcile",
        actor=report.actor,
        evidence={
            "MessageSid": report.sid,
            "MessageStatus": earlier.status,
            "statement": f"Twilio told it by the SID, as of message {earlier.id}.",
        },
        sender=report.sender,
    )


def sent_report(  # noqa: PLR0913 - what a report has
    account_sid: str,
    name: str,
    shown: ShownMessage,
    *,
    phone_number: PhoneNumber,
    sender: Sender,
    actor: str,
) -> SentReport:
    """That Twilio has a text of ours, as it answers when it is sent."""
    evidence = {
        "MessageSid": shown.sid,
        "MessageStatus": shown.status,
        "From": shown.from_,
        "To": shown.to,
    }
    key = f"twilio:{account_sid}:{shown.sid}"
    signal = None
    if shown.error_code == BLOCKED:
        signal = block_signal(key, phone_number, sender, evidence)
    return SentReport(
        key=key,
        name=name,
        phone_number=phone_number,
        sender=sender,
        address=shown.from_,
        sid=shown.sid,
        status=shown.status,
        error_code=shown.error_code,
        source="api",
        actor=actor,
        evidence=evidence,
        signal=signal,
    )
