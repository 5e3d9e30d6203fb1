"""What arrived: facts about consent before the ledger has decided anything.

A signal is built at an edge (webhook, API, command line) and handed to the command
handler. Never carries the time of recording: the store alone knows that.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal, NamedTuple

from ledger.domain.classify import MatchedBy
from ledger.domain.ids import PhoneNumber, Sender, Status, Version

Source = Literal[
    "twilio.inbound", "twilio.status", "twilio.import", "api", "import", "reconcile"
]
Incoming = Literal["twilio.inbound", "twilio.import"]
"""Whence we know of a text that somebody has sent us."""

Outgoing = Literal["api", "twilio.status", "twilio.import", "reconcile"]
"""Whence we know what became of a text that was sent: ``api`` is Twilio's answer."""
LapseSource = Literal["twilio.deactivations"]
LapseReason = Literal["deactivated"]

Evidence = Mapping[str, object]


# A tuple and no frozen dataclass, which takes five times as long to make: there is one
# for each text.
class Signal(NamedTuple):
    """Something that arrived and may change consent: a text, a call, an import row."""

    key: str
    """Names the fact for ever: a repeat answers with the first one's position."""
    phone_number: PhoneNumber
    sender: Sender
    status: Status
    occurred_at: datetime | None
    """When the person did it, in UTC; None where that is when it is recorded."""
    source: Source
    matched_by: MatchedBy
    actor: str
    """Who says so: ``subject`` for the person's own text, else the API key's name."""
    evidence: Evidence
    undoes_out: bool = True
    """False for a YES to a toll-free number: the carrier goes on blocking after it."""
    expected_version: Version | None = None
    """Record it only if the subject's stream has just so many events (If-Match)."""
