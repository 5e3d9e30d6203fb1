"""The shapes of requests and answers; /openapi.json is made from them.

JSON is camelCase, times are RFC 3339 in UTC. Never holds a rule of consent.
"""

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
)
from pydantic.alias_generators import to_camel

from ledger.domain.classify import MatchedBy
from ledger.domain.ids import Answer, Status
from ledger.domain.signals import Source

E164 = r"^\+[1-9][0-9]{6,14}$"
_WORD = r"^[^\x00]+$"

Instant = Annotated[AwareDatetime, AfterValidator(lambda at: at.astimezone(UTC))]
SenderField = Annotated[str, Field(min_length=1, max_length=256, pattern=_WORD)]


class Shape(BaseModel):
    """What all shapes share."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, frozen=True
    )


class SenderStatus(Shape):
    """What holds for one sender that the number has said something about."""

    sender: str
    status: Status
    since: datetime
    position: int


class PhoneNumberRecord(Shape):
    """What a number says now."""

    phone_number: str
    status: Status
    since: datetime
    position: int
    version: int
    senders: list[SenderStatus]


class SenderRecord(Shape):
    """What a number says now to one sender; ``unknown`` where it has said nothing."""

    phone_number: str
    sender: str
    status: Answer
    since: datetime | None
    position: int
    version: int


class HistoryEvent(Shape):
    """One event of a number. ``evidence`` is there for auditors only."""

    position: int
    version: int
    sender: str
    status: Status
    previous_status: Answer
    occurred_at: datetime
    recorded_at: datetime
    source: Source
    matched_by: MatchedBy
    actor: str
    evidence: dict[str, JsonValue] | None = None


class History(Shape):
    """Every event of a number, oldest first."""

    phone_number: str
    events: list[HistoryEvent]


class Accepted(Shape):
    """Recorded and durable; the projection has not shown it yet."""

    phone_number: str
    status: Status
    position: int


class ConsentInput(Shape):
    """An explicit consent, as an application records it."""

    model_config = ConfigDict(extra="forbid")

    phone_number: Annotated[str, Field(pattern=E164)] | None = None
    status: Status
    sender: SenderField = "*"
    occurred_at: Instant | None = None
    evidence: dict[str, JsonValue] = Field(default_factory=dict)


class NewConsentInput(ConsentInput):
    """An explicit consent for a number that is named in the body."""

    phone_number: Annotated[str, Field(pattern=E164)]


class Problem(Shape):
    """An error, as RFC 9457 has it, with a stable ``code``."""

    type: Literal["about:blank"]
    title: str
    status: int
    code: str
    detail: str | None = None


class ProjectionState(Shape):
    """Where a projection stands."""

    name: str
    version: int
    position: int
    lag_events: int
    running: bool
    stopped_reason: str | None


class Readiness(Shape):
    """Whether the service can be used, and if not, why."""

    ready: bool
    reasons: list[str]
    position: int | None
    projections: list[ProjectionState]
