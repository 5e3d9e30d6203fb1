"""The shapes of requests and answers; /openapi.json is made from them.

JSON is camelCase, times are RFC 3339 in UTC. Never holds a rule of consent.
"""

import operator
import re
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
)
from pydantic.alias_generators import to_camel

from ledger.domain.classify import MatchedBy
from ledger.domain.ids import Answer, Status
from ledger.domain.signals import LapseReason, LapseSource, Source

E164 = r"^\+[1-9][0-9]{6,14}$"
_WORD = r"^[^\x00]+$"

_RFC_3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?"
    r"(Z|[+-][0-9]{2}:[0-9]{2})",
    re.IGNORECASE,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _as_written(value: object) -> object:
    """A time as text; pydantic by itself takes numbers, and digits, as well."""
    if isinstance(value, str) and _RFC_3339.fullmatch(value):
        return value
    raise ValueError("must be a time with an offset, such as 2026-01-31T12:00:00Z")


def _in_utc(at: datetime) -> datetime:
    try:
        utc = at.astimezone(UTC)
    except OverflowError:
        raise ValueError("must be a time that there is in UTC") from None
    if utc < _EPOCH:
        raise ValueError("must not be before 1970")
    return utc


Instant = Annotated[
    AwareDatetime, BeforeValidator(_as_written), AfterValidator(_in_utc)
]
SenderField = Annotated[str, Field(min_length=1, max_length=256, pattern=_WORD)]


class Shape(BaseModel):
    """What all shapes share."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        frozen=True,
        use_attribute_docstrings=True,
    )


class SenderStatus(Shape):
    """What holds for one sender that the number has said something about."""

    sender: str
    """A MessagingServiceSid or a Twilio address; `*` is every sender."""
    status: Answer
    """`unknown` where it was `in`, and that has lapsed."""
    since: datetime
    """When the deciding event occurred: of what has lapsed, when it was said."""
    position: int
    """Position of the deciding event."""


class PhoneNumberSummary(Shape):
    """What a number says now, as it stands in a list."""

    phone_number: str
    """E.164, or the address as it came where it is not."""
    status: Answer
    """`out` if it is out for any sender; `unknown` where all that was `in` has
    lapsed."""
    since: datetime
    """When the deciding event occurred."""
    position: int
    """Position of the number's newest event."""
    version: int
    """How many events the number has."""


ErasedField = Annotated[bool, Field(exclude_if=operator.not_)]
"""In an answer only where it is true."""


class PhoneNumberRecord(Shape):
    """What a number says now."""

    phone_number: str
    """E.164, or the address as it came where it is not."""
    status: Answer
    """`out` if it is out for any sender; `unknown` where all that was `in` has lapsed.
    Of a number that was erased, `out` if it was out then, else `unknown`."""
    since: datetime | None
    """When the deciding event occurred; null where there is none."""
    position: int
    """Position of the number's newest event: of one that was erased, of its erasure."""
    version: int
    """How many events the number has; 0 where it was erased."""
    senders: list[SenderStatus]
    erased: ErasedField = False
    """There, and true, where the number was erased and has said nothing since."""
    suppressed: Annotated[bool, Field(exclude=True)] = False
    """Whether the number was out when it was erased: our own, never shown."""


class SenderSummary(Shape):
    """What a number has said to one sender, as it stands in that sender's list."""

    phone_number: str
    """E.164, or the address as it came where it is not."""
    status: Answer
    """`unknown` where it was `in`, and that has lapsed."""
    sender: str
    since: datetime
    """When the deciding event occurred: of what has lapsed, when it was said."""
    position: int
    """Position of the deciding event."""


class PastSummary(Shape):
    """What a number said at a time, as it stands in the list of then."""

    phone_number: str
    """E.164, or the address as it came where it is not."""
    status: Answer
    sender: str | None
    """The sender that was asked for; null where it was every sender together."""
    since: datetime | None
    """When the deciding event occurred; null where that was erased."""
    position: int | None
    """Position of the deciding event."""


class SenderRecord(Shape):
    """What a number says now to one sender; ``unknown`` where it has said nothing."""

    phone_number: str
    sender: str
    status: Answer
    since: datetime | None
    """When the deciding event occurred; null where it was another sender's, or was
    erased."""
    position: int
    """Position of the number's newest event."""
    version: int
    erased: ErasedField = False
    """There, and true, where what the number said before it was erased decides."""


class DecidingEvent(Shape):
    """The event by which a status began, or ended."""

    position: int
    sender: str
    """To whom it was said."""
    status: Answer
    """`unknown` of a lapse."""
    occurred_at: datetime
    """When the person did it."""
    recorded_at: datetime
    """When the ledger wrote it."""
    source: Source | LapseSource
    matched_by: MatchedBy | LapseReason


class PastRecord(Shape):
    """What a number said at a time, by what the ledger knew at another."""

    phone_number: str
    sender: str | None
    """The sender that was asked for; null where it was every sender together."""
    status: Answer
    """What held then; `unknown` where nothing had been said, or was known."""
    as_of: datetime
    """The instant that was used."""
    known_at: datetime | None
    """Only what was recorded by then was used; null where it was all that is known."""
    position: int
    """The ledger's position up to which its events were looked at."""
    decided_by: DecidingEvent | None
    """The event that decided; null where there was none, or it was erased."""
    ended_by: DecidingEvent | None
    """The next event after which another one decides, be it a second STOP; null where
    none is known."""
    senders: list[SenderStatus]
    """What held for each sender that the number had said something about."""
    erased: ErasedField = False
    """There, and true, where the number was erased and has said nothing since."""


class Attribute(Shape):
    """What a list can be asked about one attribute."""

    name: str
    type: Literal["string", "integer", "date"]
    is_primary_key: bool
    operators: list[str]
    """Comparisons that an index serves: `eq` is `=`, any other `=ge=` and so on."""
    is_sortable: bool


class Collection(Shape):
    """What ``/PhoneNumbers/`` lists, and what it can be asked."""

    name: Literal["PhoneNumbers"]
    attributes: list[Attribute]
    limit_default: int
    limit_max: int


class HistoryEvent(Shape):
    """One event of a number. ``evidence`` is there for auditors only."""

    position: int
    """Place in the whole ledger, from 1, without gaps, in the order of commits."""
    version: int
    """Place among the number's events, from 1."""
    sender: str
    status: Answer
    """`unknown` of a lapse: what was `in` until then is nobody's word any more."""
    previous_status: Answer
    occurred_at: datetime
    """When the person did it."""
    recorded_at: datetime
    """When the ledger wrote it."""
    source: Source | LapseSource
    matched_by: MatchedBy | LapseReason
    actor: str
    """`subject`, or the API key that said so."""
    evidence: Annotated[
        dict[str, JsonValue] | None, Field(exclude_if=lambda value: value is None)
    ] = None
    """What was sent: the signed parameters of a text, or what an application gave."""
    evidence_erased: ErasedField = False
    """There, and true, where the evidence has been destroyed; for auditors only."""


class History(Shape):
    """Every consent event of a number, oldest first."""

    phone_number: str
    events: list[HistoryEvent]
    erased: ErasedField = False
    """There, and true, where the number was erased and has said nothing since."""


class ErasedRecord(Shape):
    """What stays of a number that was erased."""

    phone_number: str
    erased: Literal[True] = True
    status: Answer
    """`out` where it was out for any sender: it must still not be texted."""
    position: int
    """Position of the event that says that it was erased."""


class Accepted(Shape):
    """Recorded and durable; the projection has not shown it yet."""

    phone_number: str
    status: Status
    position: int


class ConsentInput(Shape):
    """An explicit consent, as an application records it."""

    # By alias alone: phone_number would be a field that no client was told of.
    model_config = ConfigDict(extra="forbid", populate_by_name=False)

    phone_number: Annotated[str, Field(pattern=E164)] | None = None
    """The number in the path, or nothing."""
    status: Status
    sender: SenderField = "*"
    """Whom the consent is for: a MessagingServiceSid or a Twilio address; `*` is every
    sender."""
    occurred_at: Instant | None = None
    """When the person did it, not in the future; now, if it is left out."""
    evidence: dict[str, JsonValue] = Field(default_factory=dict)
    """What shows it: wording, form URL, IP address, kind of consent. No name in it may
    start with an underscore."""


class NewConsentInput(ConsentInput):
    """An explicit consent for a number that is named in the body."""

    phone_number: Annotated[str, Field(pattern=E164)]
    """E.164."""


class Problem(Shape):
    """An error, as RFC 9457 has it, with a stable ``code``."""

    type: Literal["about:blank"]
    title: str
    status: int
    code: str
    """Stable: clients may compare it."""
    detail: str | None = None
    """Which value, and what to change."""
    decided_by: HistoryEvent | None = None
    """Of a text that is not sent: the event that decided, if there is one."""


class ProjectionState(Shape):
    """Where a projection stands."""

    name: str
    version: int
    serving: bool
    """Whether it is the version that answers."""
    position: int
    lag_events: int
    running: bool
    stopped_reason: str | None


class Liveness(Shape):
    """The process answers."""

    alive: Literal[True]


class Readiness(Shape):
    """Whether the service can be used, and if not, why."""

    ready: bool
    reasons: list[str]
    position: int | None
    projections: list[ProjectionState]
