"""What happened: immutable facts, never edited, only versioned.

The event classes are the ``eventsourcing`` library's, so that a stock application reads
the ledger with this module alone. Stored topics name ``ledger.domain.events:…``, so a
class that was ever released is never moved or renamed. ``timestamp``, which the library
requires, is the ledger's *recorded at*.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from uuid import UUID

from eventsourcing.domain import DomainEvent

from ledger.domain.classify import MatchedBy
from ledger.domain.ids import (
    Answer,
    MessageId,
    PhoneNumber,
    Position,
    Sealed,
    Sender,
    Status,
    SubjectId,
    Version,
)
from ledger.domain.signals import (
    Evidence,
    Incoming,
    LapseReason,
    LapseSource,
    Outgoing,
    Source,
)

if TYPE_CHECKING:
    from ledger.domain.consent import Subject
    from ledger.domain.messages import Message


@dataclass(frozen=True, kw_only=True)
class LedgerEvent(DomainEvent):
    """What every event has."""

    personal: ClassVar[tuple[str, ...]] = ()
    """The fields with personal data: sealed with the subject's key, ``Sealed``."""

    occurred_at: datetime

    @property
    def stream_id(self) -> UUID:
        """The stream that this event is in: a subject's, a message's, the ledger's."""
        return self.originator_id

    @property
    def subject_id(self) -> SubjectId:
        """The subject whom it is about, and whose key seals what is personal."""
        return SubjectId(self.originator_id)

    @property
    def version(self) -> Version:
        """The event's place in its stream."""
        return Version(self.originator_version)

    @property
    def recorded_at(self) -> datetime:
        """When the ledger wrote it, in UTC, by the database's clock."""
        return self.timestamp

    def mutate(self, subject: Any) -> Any:  # noqa: ANN401 - a stream's own aggregate
        """Fold into a ``Subject`` or None: what the library's repository calls."""
        # A function-level import: consent folds events, and an event only forwards.
        from ledger.domain.consent import evolve, nobody  # noqa: PLC0415

        folded: Subject = evolve(subject or nobody(self.subject_id), self)
        return folded


@dataclass(frozen=True, kw_only=True)
class ConsentChanged(LedgerEvent):
    """A person said something about being texted by a sender.

    ``phone_number`` and ``evidence`` are the only fields with personal data: sealed
    with the subject's key, and read without it, ``Sealed``.
    """

    personal: ClassVar = ("phone_number", "evidence")

    status: Status
    previous_status: Answer
    """The status for this sender just before, as the ledger then knew it."""
    sender: Sender
    source: Source
    matched_by: MatchedBy
    actor: str
    phone_number: PhoneNumber | Sealed
    evidence: Evidence | Sealed


@dataclass(frozen=True, kw_only=True)
class ConsentLapsed(LedgerEvent):
    """Whoever has the number may be another person: what was ``in`` is ``unknown``.

    For every sender, and for what had occurred by then. Every ``out`` stays: nobody has
    taken it back. It is no word of a person's, so it is not a ``ConsentChanged``.
    """

    previous_status: Answer
    """The overall status just before, as the ledger then knew it."""
    source: LapseSource
    matched_by: LapseReason
    actor: str


@dataclass(frozen=True, kw_only=True)
class SubjectErased(LedgerEvent):
    """The subject's key was destroyed: the last event of its stream.

    What the person says later begins a new subject.
    """

    status: Answer
    """``out`` where the subject was out for any sender: a duty that stays."""
    key_id: str
    """Which key was destroyed: the start of its SHA-256, which says nothing of it."""
    reason: str
    actor: str


@dataclass(frozen=True, kw_only=True)
class HoldPlaced(LedgerEvent):
    """A legal hold: nothing of the subject is erased until it ends or is released."""

    until: datetime
    reason: str
    actor: str


@dataclass(frozen=True, kw_only=True)
class HoldReleased(LedgerEvent):
    """The subject is no longer under a legal hold."""

    reason: str
    actor: str


@dataclass(frozen=True, kw_only=True)
class ProjectionSwitched(LedgerEvent):
    """Another version of a projection's tables answers from here on.

    In the ledger's own stream. Says what the two versions told differently, and who let
    that be.
    """

    projection: str
    from_version: int
    to_version: int
    report_id: str
    """Names the comparison: the same differences have the same."""
    changes: list[dict[str, Any]]
    """Of how many numbers the status changed from what to what, with examples."""
    accepted: bool
    """Whether ``actor`` has accepted numbers that became ``in``."""
    actor: str


@dataclass(frozen=True, kw_only=True)
class EvidenceErased(LedgerEvent):
    """The evidence of whole days was destroyed, but for subjects under a hold.

    In a stream of the ledger's own, whose subject is nobody.
    """

    before: datetime
    """The start, in UTC, of the first day whose evidence was kept."""
    days: int
    """How many days' secrets were destroyed."""
    held: int
    """How many subjects kept theirs, being under a hold."""
    actor: str


@dataclass(frozen=True, kw_only=True)
class ConsentChecked(LedgerEvent):
    """A list of numbers was checked, and the answer can be shown to be the one given.

    In a stream of its own, whose subject is nobody and whose id is the receipt's. No
    number is in it, and no digest from which one could be found by trying: both digests
    are over a salt that only the answer holds.
    """

    sender: Sender | None
    """The sender that was asked for; None where it was every sender together."""
    as_of: datetime | None
    """The time that was asked for; None where it was now."""
    known_at: datetime | None
    """Only what was recorded by then was used; None where it was all that is known."""
    region: str | None
    """Where national numbers were understood as of, if any were."""
    read_position: Position
    """The position at which every number was read."""
    numbers: int
    """How many were asked for."""
    request_digest: str
    """HMAC-SHA-256 of the request's bytes with the salt, in hexadecimal."""
    answer_digest: str
    """SHA-256 of the answer's bytes, in hexadecimal."""
    actor: str


@dataclass(frozen=True, kw_only=True)
class MessageEvent(LedgerEvent):
    """What every event of a text has: a stream of its own, and the person.

    Sealed with the person's key, bound to the text's stream.
    """

    counterparty: SubjectId
    """The subject at the other end, whose key seals what is personal."""

    @property
    def message_id(self) -> MessageId:
        """The text whose stream this event is in."""
        return MessageId(self.originator_id)

    @property
    def subject_id(self) -> SubjectId:
        """The person, not the stream."""
        return self.counterparty

    @property
    def has_cause(self) -> bool:
        """Whether it was appended behind another event, for the same signal."""
        return getattr(self, "consent_version", None) is not None

    def mutate(self, message: "Message | None") -> "Message":
        """Fold into ``message``: what the library's repository calls."""
        # As above: messages folds events, and an event only forwards.
        from ledger.domain.messages import fold, unwritten  # noqa: PLC0415

        return fold(message or unwritten(self.message_id), self)


@dataclass(frozen=True, kw_only=True)
class MessageReceived(MessageEvent):
    """A person has sent a text."""

    personal: ClassVar = ("phone_number", "sid", "evidence")

    sender: Sender | None
    """What a consent in it would be about; None where Twilio named nothing."""
    address: str | None
    """Our address that it was sent to; None where Twilio named none."""
    source: Incoming
    actor: str
    consent_version: Version | None
    """What it says of consent: the event at that version of the person's stream,
    recorded directly before this one, which holds the evidence. None for nothing."""
    phone_number: PhoneNumber | Sealed
    sid: str | Sealed
    """Twilio's name for it."""
    evidence: Evidence | Sealed | None
    """Its body and whatever else Twilio sent; None where the consent event has it."""


@dataclass(frozen=True, kw_only=True)
class MessageRequested(MessageEvent):
    """A text is to be sent: recorded before Twilio is asked, with what allows it."""

    personal: ClassVar = ("phone_number", "evidence")

    sender: Sender
    """For whom the person's consent was looked at."""
    address: str | None
    """Our address that it is to come from; None where a service picks one."""
    consent_status: Literal["in", "unknown"]
    """What the person's status was for ``sender``: the stream had not moved on when
    this was recorded."""
    allowed_by: Version | None
    """The version, in the person's stream, of the event that decided; None for none."""
    send_at: datetime | None
    """When it is to be sent; None for at once."""
    actor: str
    phone_number: PhoneNumber | Sealed
    evidence: Evidence | Sealed
    """What is to be sent."""


@dataclass(frozen=True, kw_only=True)
class MessageSent(MessageEvent):
    """Twilio has an outgoing text, ours or anybody's of the account."""

    personal: ClassVar = ("phone_number", "sid", "evidence")

    sender: Sender | None
    address: str | None
    """Our address that it comes from; None where Twilio has not picked one."""
    status: str
    """What Twilio said its status was."""
    error_code: int | None
    source: Outgoing
    """``api`` for ours; else whence we know of one that we did not send."""
    actor: str
    consent_version: Version | None
    """As in ``MessageReceived``: Twilio refused it as blocked."""
    phone_number: PhoneNumber | Sealed | None
    """None, as what follows, where the person was erased before this was known."""
    sid: str | Sealed | None
    evidence: Evidence | Sealed | None
    """None also where the consent event has it."""


@dataclass(frozen=True, kw_only=True)
class MessageStatusChanged(MessageEvent):
    """What became of an outgoing text, as somebody said, in whatever order."""

    personal: ClassVar = ("evidence",)

    status: str
    error_code: int | None
    source: Outgoing
    actor: str
    consent_version: Version | None
    """As in ``MessageReceived``: Twilio blocks the pair."""
    evidence: Evidence | Sealed | None
    """None where the consent event has it, or where the person was erased before."""
