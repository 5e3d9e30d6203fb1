"""What is told of a change: a document for programs, an e-mail for people.

The same event makes the same notice, with the same id, however often it is told, so
that whoever gets it twice can tell. Only the number may be gone, if the person was
erased since.
"""

from email.message import EmailMessage
from typing import NamedTuple

import orjson

from ledger.domain.ids import EVERY_SENDER, PhoneNumber, Position, Sender
from ledger.notifying.changes import Change, SenderChange


class Notice(NamedTuple):
    """A change, its place in the ledger, and whose it is."""

    position: Position
    change: Change
    phone_number: PhoneNumber | None
    """None for an erasure, and where the person was erased since."""

    @property
    def id(self) -> str:
        """Names the event: two ledgers that tell the same receiver differ in it."""
        return f"{self.change.subject_id}-{self.change.version}"

    def as_json(self) -> bytes:
        """The document that is posted."""
        change = self.change
        shown = {
            "id": self.id,
            "type": change.kind,
            "position": self.position,
            "subjectId": str(change.subject_id),
            "phoneNumber": self.phone_number,
            **_shown(change.about),
            "overallStatus": change.overall.status,
            "previousOverallStatus": change.overall.previous_status,
            "senders": [_shown(each) for each in change.senders],
            "occurredAt": change.occurred_at,
            "recordedAt": change.recorded_at,
            "source": change.source,
        }
        return orjson.dumps(shown, option=orjson.OPT_UTC_Z)

    def as_email(self, *, from_address: str, to: tuple[str, ...]) -> EmailMessage:
        """The same for people; the subject, which is shown to many, has no number."""
        message = EmailMessage()
        message["Subject"] = self._subject()
        message["From"] = from_address
        message["To"] = ", ".join(to)
        message["Date"] = self.change.recorded_at
        message["Message-ID"] = f"<{self.id}@consent-ledger>"
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(self._text())
        return message

    def _subject(self) -> str:
        about = self.change.about
        if self.change.kind == "subject.erased":
            return "Consent: a number was erased"
        return f"Consent: {about.previous_status} -> {about.status}"

    def _text(self) -> str:
        change = self.change
        about, overall = change.about, change.overall
        lines = [
            f"Number:    {self.phone_number or 'erased'}",
            f"Sender:    {_named(about.sender)}",
            f"Status:    {about.status} (was {about.previous_status})",
            f"Overall:   {overall.status} (was {overall.previous_status})",
            f"Occurred:  {change.occurred_at:%Y-%m-%d %H:%M:%S} UTC",
            f"Recorded:  {change.recorded_at:%Y-%m-%d %H:%M:%S} UTC",
            f"Source:    {change.source or 'an erasure'}",
            f"Position:  {self.position}",
        ]
        return "\n".join(lines) + "\n"


def _shown(change: SenderChange) -> dict[str, str]:
    return {
        "sender": change.sender,
        "status": change.status,
        "previousStatus": change.previous_status,
    }


def _named(sender: Sender) -> str:
    return "every sender" if sender == EVERY_SENDER else sender
