"""The shapes of a check, its answer and its receipt; see ``ledger.api.models``."""

from datetime import datetime
from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field, JsonValue

from ledger.api.models import ErasedField, SenderField, Shape
from ledger.domain.ids import Answer

NUMBERS_MAX: Final = 10_000
"""Most numbers of one list that is checked."""


class CheckInput(Shape):
    """A list to be checked, and what is asked of each of its numbers."""

    model_config = ConfigDict(extra="forbid", populate_by_name=False)

    phone_numbers: Annotated[
        list[JsonValue], Field(json_schema_extra={"maxItems": NUMBERS_MAX})
    ]
    """E.164, or with `region` as people write them there. What is no number is answered
    as such, and the rest is answered all the same."""
    sender: SenderField | None = None
    """Ask for one sender; every sender together, if it is left out."""
    as_of: str | None = None
    """Ask what held at a time: RFC 3339 with an offset, or a date, which means the end
    of that day."""
    known_at: str | None = None
    """Use only what the ledger had recorded by this time."""
    tz: str | None = None
    """The time zone of a date in `asOf` or `knownAt`; UTC, if it is left out."""
    min_position: Annotated[int, Field(ge=0, lt=10**18)] | None = None
    """Answer only once this position has been reached, or refuse with 503."""
    record: bool = False
    """Whether to keep a receipt: evidence of what was asked and answered."""
    region: Annotated[str, Field(pattern="^[A-Za-z]{2}$")] | None = None
    """ISO 3166: where numbers without a plus are national numbers of. Without it they
    are no numbers."""


class CheckResult(Shape):
    """What one number of a list says."""

    phone_number: str | None
    """As it was understood; null where it was not."""
    given: JsonValue
    """As it came."""
    status: Answer | None
    """`unknown` where nothing was recorded; null where it is no number."""
    position: int | None
    """Position of the event that decides; null where there is none, or it was
    erased."""
    since: datetime | None
    """When that event occurred."""
    erased: ErasedField = False
    """There, and true, where what the number said before it was erased decides."""
    error: Annotated[
        Literal["invalid_phone_number"] | None,
        Field(exclude_if=lambda value: value is None),
    ] = None
    """There where it is no number."""


class ReceiptKey(Shape):
    """By which an answer can be shown to be the one that was given."""

    id: str
    """The receipt's, which an auditor asks for."""
    salt: str
    """What makes the digests safe; it is in this answer and nowhere else."""


class CheckAnswer(Shape):
    """What every number of a list says, at one position."""

    position: int
    """The position at which every number was read."""
    as_of: datetime | None
    """The instant that was used; null where it was now."""
    known_at: datetime | None
    """Only what was recorded by then was used; null where it was all that is known."""
    sender: str | None
    """The sender that was asked for; null where it was every sender together."""
    results: list[CheckResult]
    """In the order of the list; of a number that is in it twice, both times."""
    receipt: Annotated[
        ReceiptKey | None, Field(exclude_if=lambda value: value is None)
    ] = None
    """There where one was asked for."""


class CheckReceipt(Shape):
    """What the ledger keeps of a list that was checked."""

    receipt: str
    position: int
    """Position of the receipt itself."""
    recorded_at: datetime
    """When the answer was given, by the database's clock."""
    actor: str
    """Who asked: `key:` and the name of an API key, or `cli:` and an account."""
    sender: str | None
    as_of: datetime | None
    known_at: datetime | None
    region: str | None
    read_position: int
    """The position at which every number was read."""
    numbers: int
    """How many were asked for."""
    request_digest: str
    """HMAC-SHA-256 of the request's body, with the answer's salt as key."""
    answer_digest: str
    """SHA-256 of the answer's body."""


class ReceiptVerdict(Shape):
    """Whether what was saved is what was asked, or answered."""

    receipt: str
    part: Literal["answer", "request"]
    matches: bool
    """Whether it is the same, byte for byte."""
