"""The words in which a route is described.

Shapes, constraints and status codes are not written down a second time: an operation
names the model that validates or answers, and the errors that may be raised. Never
builds a document: that is ``ledger.api.openapi``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from pydantic import JsonValue

from ledger import errors
from ledger.api.keys import Role
from ledger.api.models import Shape
from ledger.errors import LedgerError

Schema = dict[str, JsonValue]
Refusals = tuple[type[LedgerError], ...]

JSON: Final = "application/json"
TEXT: Final[Schema] = {"type": "string"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """What may stand in the path, the query or the headers."""

    name: str
    place: Literal["path", "query", "header"]
    description: str
    schema: Schema = field(default_factory=lambda: dict(TEXT))
    example: JsonValue = None
    required: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """What may be sent: a model's JSON, and what ``content`` says of other types."""

    model: type[Shape] | None = None
    content: dict[str, Schema] = field(default_factory=dict)
    example: JsonValue = None
    invalid: type[LedgerError] = errors.InvalidConsent
    """What JSON that the model does not allow is refused as."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One good answer: any of ``models``, or what ``schema`` says, or nothing."""

    status: int
    description: str
    models: tuple[type[Shape], ...] = ()
    are_many: bool = False
    """Whether it is a list of them."""
    can_be_parts: bool = False
    """Whether a request may select attributes of them."""
    schema: Schema | None = None
    media_types: tuple[str, ...] = (JSON,)
    """What ``models`` describe is JSON; in any other type it is text."""
    example: JsonValue = None
    headers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path; a GET answers HEAD as well, where ``has_head``."""

    method: Literal["get", "put", "patch", "post", "delete"]
    path: str
    name: str
    tag: str
    summary: str
    description: str = ""
    roles: frozenset[Role] | None
    """Who may; None where no key is needed."""
    has_head: bool = True
    parameters: Sequence[Parameter] = ()
    body: Body | None = None
    answers: Sequence[Answer]
    refusals: Refusals = ()
    """Every error of its own; those of keys, of bodies and of faults are added."""


IF_NONE_MATCH: Final = Parameter(
    name="If-None-Match",
    place="header",
    description="ETags that the client has; 304 if one of them is still right.",
)
SNAPSHOT: Final = Parameter(
    name="snapshot",
    place="query",
    schema={"enum": ["true", "false"]},
    description="Of a stream: whether what holds now comes first.",
)
LAST_EVENT_ID: Final = Parameter(
    name="Last-Event-ID",
    place="header",
    description="Of a stream: the position after which to go on.",
)
PAST: Final = (
    Parameter(
        name="asOf",
        place="query",
        schema={"type": "string", "minLength": 10},
        example="2026-01-31",
        description="Ask what held at a time, by when people acted: RFC 3339 with an "
        "offset, or a date, which means the end of that day.",
    ),
    Parameter(
        name="knownAt",
        place="query",
        schema={"type": "string", "minLength": 10},
        example="2026-01-31T12:00:00Z",
        description="Use only what the ledger had recorded by this time; `asOf` is the "
        "same time where it is left out.",
    ),
    Parameter(
        name="tz",
        place="query",
        example="America/New_York",
        description="The time zone of a date in `asOf` or `knownAt`; UTC, if it is "
        "left out.",
    ),
)
PAST_REFUSALS: Final[Refusals] = (
    errors.InvalidMoment,
    errors.FutureMoment,
    errors.UnknownTimeZone,
)
