"""``/PhoneNumbers``: reading what numbers say, recording what they said."""

from typing import Final, Literal

from pydantic import JsonValue

from ledger import errors
from ledger.api.formats import CSV, EVENT_STREAM
from ledger.api.keys import READ, WRITE
from ledger.api.models import (
    E164,
    Accepted,
    ConsentInput,
    History,
    NewConsentInput,
    PastRecord,
    PhoneNumberRecord,
    SenderRecord,
)
from ledger.api.operations.operation import (
    IF_NONE_MATCH,
    LAST_EVENT_ID,
    PAST,
    PAST_REFUSALS,
    SNAPSHOT,
    Answer,
    Body,
    Operation,
    Parameter,
    Refusals,
)

NUMBER: Final = Parameter(
    name="number",
    place="path",
    required=True,
    example="+14155550100",
    description="The phone number as E.164, its plus bare or as `%2B`; or an address "
    "that is not E.164, such as a short code, as it came.",
)
_E164_NUMBER: Final = Parameter(
    name="number",
    place="path",
    required=True,
    schema={"type": "string", "pattern": E164},
    example="+14155550100",
    description="The phone number as E.164, its plus bare or as `%2B`.",
)
_MIN_POSITION: Final = Parameter(
    name="minPosition",
    place="query",
    schema={"type": "string", "pattern": "^[0-9]{1,18}$"},
    example="1",
    description="Answer only once the position has been reached, or refuse with 503: "
    "a position from an earlier answer makes sure that its event is counted.",
)
_IDEMPOTENCY_KEY: Final = Parameter(
    name="Idempotency-Key",
    place="header",
    schema={"type": "string", "minLength": 1, "maxLength": 255},
    description="Names the consent once and for ever: the same call may be made again "
    "after any failure and counts once. Printable characters.",
)
_AT: Final = "2026-01-31T12:00:00Z"
_RECORD_EXAMPLE: Final[JsonValue] = {
    "phoneNumber": "+14155550100",
    "status": "out",
    "since": _AT,
    "position": 41,
    "version": 2,
    "senders": [
        {"sender": "+14155550199", "status": "out", "since": _AT, "position": 41}
    ],
}
_RECORDED_EXAMPLE: Final[JsonValue] = {
    "phoneNumber": "+14155550100",
    "status": "in",
    "since": _AT,
    "position": 42,
    "version": 3,
    "senders": [
        {"sender": "+14155550199", "status": "in", "since": _AT, "position": 42}
    ],
}
_CONSENT_EXAMPLE: Final[dict[str, JsonValue]] = {
    "status": "in",
    "sender": "+14155550199",
    "occurredAt": _AT,
    "evidence": {"formUrl": "https://example.com/join", "wording": "Text me offers"},
}
_EVENT_EXAMPLE: Final[JsonValue] = {
    "position": 41,
    "version": 2,
    "sender": "+14155550199",
    "status": "out",
    "previousStatus": "in",
    "occurredAt": _AT,
    "recordedAt": _AT,
    "source": "twilio.inbound",
    "matchedBy": "keyword",
    "actor": "subject",
}
_READ_REFUSALS: Final[Refusals] = (errors.InvalidQuery, errors.NotFound)

READING: Final = (
    Operation(
        method="get",
        path="/PhoneNumbers/{number}",
        name="readPhoneNumber",
        tag="Phone numbers",
        summary="May I text this number now?",
        description="`/PhoneNumbers/+14155550100.status` answers one property of the "
        "record by itself, and `?select(phoneNumber,status)` some of them; `.csv` or "
        "`.json` at the path's end says in what format. With "
        "`Accept: text/event-stream`, every change to come. With `asOf` or `knownAt`, "
        "what held and was known at a time: always 200, and `unknown` where nothing "
        "was.",
        roles=READ,
        parameters=(
            NUMBER,
            Parameter(
                name="sender",
                place="query",
                schema={"type": "string", "minLength": 1},
                example="+14155550199",
                description="Ask for one sender: the newest word to it or to every "
                "sender decides; without one, `out` where the number is out for "
                "another, else `unknown`.",
            ),
            *PAST,
            _MIN_POSITION,
            IF_NONE_MATCH,
            SNAPSHOT,
            LAST_EVENT_ID,
        ),
        answers=(
            Answer(
                status=200,
                description="What the number says now.",
                models=(PhoneNumberRecord, SenderRecord, PastRecord),
                can_be_parts=True,
                media_types=("application/json", CSV, EVENT_STREAM),
                example=_RECORD_EXAMPLE,
                headers=("ETag", "Vary"),
            ),
            Answer(
                status=304,
                description="As the client has it.",
                headers=("ETag", "Vary"),
            ),
        ),
        refusals=(
            *_READ_REFUSALS,
            *PAST_REFUSALS,
            errors.UnknownAttribute,
            errors.NotAcceptable,
            errors.NotYetProjected,
            errors.QueueFull,
            errors.TryAgain,
        ),
    ),
    Operation(
        method="get",
        path="/PhoneNumbers/{number}/history",
        name="readHistory",
        tag="Phone numbers",
        summary="Everything this number ever said",
        description="Oldest first, with both times. `evidence` is there for the roles "
        "auditor and admin.",
        roles=READ,
        parameters=(
            NUMBER,
            Parameter(
                name="after",
                place="query",
                schema={"type": "string", "pattern": "^[0-9]{1,18}$"},
                description="Begin after this position.",
            ),
            Parameter(
                name="limit",
                place="query",
                schema={"type": "integer", "minimum": 1, "maximum": 10_000},
                description="Most events in one answer; `Link` names the rest.",
            ),
            _MIN_POSITION,
        ),
        answers=(
            Answer(
                status=200,
                description="The events.",
                models=(History,),
                example={"phoneNumber": "+14155550100", "events": [_EVENT_EXAMPLE]},
                headers=("Link",),
            ),
        ),
        refusals=(*_READ_REFUSALS, errors.NotYetProjected),
    ),
)


def _recording(method: Literal["put", "patch"], name: str) -> Operation:
    return Operation(
        method=method,
        path="/PhoneNumbers/{number}",
        name=name,
        tag="Phone numbers",
        summary="Record a consent that a person gave or withdrew",
        description="Appends an event and never overwrites one. PUT and PATCH are the "
        "same: each names a whole consent.",
        roles=WRITE,
        parameters=(
            _E164_NUMBER,
            _IDEMPOTENCY_KEY,
            Parameter(
                name="If-Match",
                place="header",
                description="Record it only if this ETag is still right; `*` if there "
                "is a record.",
            ),
            Parameter(
                name="If-None-Match",
                place="header",
                schema={"const": "*"},
                description="Record it only if there is no record yet.",
            ),
        ),
        body=Body(model=ConsentInput, example=_CONSENT_EXAMPLE),
        answers=(
            _recorded(200, "Recorded; the number was known, or the call a repeat."),
            _recorded(201, "Recorded; the number is new."),
            _ACCEPTED,
        ),
        refusals=(
            errors.InvalidPhoneNumber,
            errors.PreconditionFailed,
            errors.IdempotencyKeyReused,
            errors.QueueFull,
            errors.UnknownEvent,
        ),
    )


def _recorded(status: int, description: str, *headers: str) -> Answer:
    return Answer(
        status=status,
        description=description,
        models=(PhoneNumberRecord,),
        example=_RECORDED_EXAMPLE,
        headers=("ETag", "Ledger-Position", *headers),
    )


_ACCEPTED: Final = Answer(
    status=202,
    description="Recorded and durable; the record does not show it yet.",
    models=(Accepted,),
    example={"phoneNumber": "+14155550100", "status": "in", "position": 42},
    headers=("Ledger-Position",),
)

WRITING: Final = (
    _recording("put", "recordConsent"),
    _recording("patch", "recordConsentByPatch"),
    Operation(
        method="post",
        path="/PhoneNumbers/",
        name="recordFirstConsent",
        tag="Phone numbers",
        summary="Record a consent of a number that was never seen",
        roles=WRITE,
        parameters=(_IDEMPOTENCY_KEY,),
        body=Body(
            model=NewConsentInput,
            example={"phoneNumber": "+14155550100", **_CONSENT_EXAMPLE},
        ),
        answers=(
            _recorded(200, "A repeat of a call that was recorded.", "Location"),
            _recorded(201, "Recorded.", "Location"),
            _ACCEPTED,
        ),
        refusals=(
            errors.InvalidPhoneNumber,
            errors.AlreadyExists,
            errors.IdempotencyKeyReused,
            errors.QueueFull,
            errors.UnknownEvent,
        ),
    ),
)
