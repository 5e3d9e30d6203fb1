"""What happened: immutable facts, never edited, only versioned.

The event classes are the ``eventsourcing`` library's, so that a stock application reads
the ledger with this module alone. Stored topics name ``ledger.domain.events:…``, so a
class that was ever released is never moved or renamed. ``timestamp``, which the library
requires, is the ledger's *recorded at*.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from eventsourcing.domain import DomainEvent

from ledger.domain.classify import MatchedBy
from ledger.domain.ids import Answer, PhoneNumber, Sender, Status, SubjectId, Version
from ledger.domain.signals import Evidence, Source

if TYPE_CHECKING:
    from ledger.domain.consent import Subject


@dataclass(frozen=True, kw_only=True)
class ConsentChanged(DomainEvent):
    """A person said something about being texted by a sender.

    ``phone_number`` and ``evidence`` are the only fields with personal data.
    """

    status: Status
    previous_status: Answer
    """The status for this sender just before, as the ledger then knew it."""
    sender: Sender
    occurred_at: datetime
    source: Source
    matched_by: MatchedBy
    actor: str
    phone_number: PhoneNumber
    evidence: Evidence

    @property
    def subject_id(self) -> SubjectId:
        """The subject whose stream this event is in."""
        return SubjectId(self.originator_id)

    @property
    def version(self) -> Version:
        """The event's place in that stream."""
        return Version(self.originator_version)

    @property
    def recorded_at(self) -> datetime:
        """When the ledger wrote it, in UTC, by the database's clock."""
        return self.timestamp

    def mutate(self, subject: "Subject | None") -> "Subject":
        """Fold into ``subject``: what the library's repository calls."""
        # A function-level import: consent folds events, and an event only forwards.
        from ledger.domain.consent import evolve, nobody  # noqa: PLC0415

        return evolve(subject or nobody(self.subject_id), self)
