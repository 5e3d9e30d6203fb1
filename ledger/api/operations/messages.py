"""``/Messages``: reading the log of texts."""

from typing import Final

from pydantic import JsonValue

from ledger import errors
from ledger.api.keys import READ
from ledger.api.message_models import MessageDetails, MessageRecord
from ledger.api.message_reader import OPEN
from ledger.api.messages import LIMIT_DEFAULT, LIMIT_MAX
from ledger.api.operations.operation import Answer, Operation, Parameter

_MIN_POSITION: Final = Parameter(
    name="minPosition",
    place="query",
    schema={"type": "string", "pattern": "^[0-9]{1,18}$"},
    example="1",
    description="Answer only once the position has been reached, or refuse with 503.",
)
_ADDRESS: Final[dict[str, JsonValue]] = {"type": "string", "minLength": 1}
_EXAMPLE: Final[dict[str, JsonValue]] = {
    "id": "8d1f5a52-9a52-8c3e-9a1e-0b7a4f6f2f10",
    "sid": "SM0123456789abcdef0123456789abcdef",
    "direction": "incoming",
    "to": "+14155550199",
    "from": "+14155550100",
    "counterparty": "+14155550100",
    "sender": "+14155550199",
    "status": "received",
    "errorCode": None,
    "sendAt": None,
    "occurredAt": "2026-01-31T12:00:00Z",
    "updatedAt": "2026-01-31T12:00:00Z",
    "position": 42,
    "version": 1,
}
_DETAILS: Final[dict[str, JsonValue]] = {
    **_EXAMPLE,
    "body": "Hello",
    "events": [
        {
            "position": 42,
            "kind": "MessageReceived",
            "status": "received",
            "errorCode": None,
            "source": "twilio.inbound",
            "actor": "subject",
            "occurredAt": "2026-01-31T12:00:00Z",
            "recordedAt": "2026-01-31T12:00:00Z",
            "evidence": {"Body": "Hello"},
        }
    ],
}


def _address(name: str, description: str) -> Parameter:
    return Parameter(
        name=name,
        place="query",
        schema=_ADDRESS,
        example="+14155550100",
        description=description,
    )


MESSAGES: Final = (
    Operation(
        method="get",
        path="/Messages",
        name="listMessages",
        tag="Messages",
        summary="Texts, in and out, the newest first",
        description="Without bodies. A page goes on where the one before ended, "
        "whatever has come since.",
        roles=READ,
        parameters=(
            Parameter(
                name="direction",
                place="query",
                schema={"enum": ["incoming", "outgoing"]},
                description="Only those of one direction.",
            ),
            _address("to", "Whom they are to: a person, or one of our addresses."),
            _address("from", "Whom they are from."),
            _address("counterparty", "The person, whichever the direction."),
            Parameter(
                name="status",
                place="query",
                schema={"enum": list(OPEN)},
                description="Only outgoing texts that are in this state; without an "
                "address.",
            ),
            Parameter(
                name="limit",
                place="query",
                schema={"type": "integer", "minimum": 1, "maximum": LIMIT_MAX},
                description=f"Texts in one answer; {LIMIT_DEFAULT} if it is left out.",
            ),
            Parameter(
                name="cursor",
                place="query",
                schema={"type": "string", "minLength": 1},
                description="Where a page ended: `Link` of the page before has it.",
            ),
            _MIN_POSITION,
        ),
        answers=(
            Answer(
                status=200,
                description="The texts.",
                models=(MessageRecord,),
                are_many=True,
                example=[_EXAMPLE],
                headers=("Link",),
            ),
        ),
        refusals=(
            errors.InvalidQuery,
            errors.InvalidValue,
            errors.InvalidLimit,
            errors.InvalidCursor,
            errors.NotYetProjected,
        ),
    ),
    Operation(
        method="get",
        path="/Messages/{sid}",
        name="readMessage",
        tag="Messages",
        summary="One text; for auditors with its body and all that happened to it",
        description="A reading with a body is logged. Of somebody who was erased "
        "there is no text any more.",
        roles=READ,
        parameters=(
            Parameter(
                name="sid",
                place="path",
                required=True,
                example="SM0123456789abcdef0123456789abcdef",
                description="Twilio's SID, or the text's `id`.",
            ),
            _MIN_POSITION,
        ),
        answers=(
            Answer(
                status=200,
                description="The text.",
                models=(MessageDetails, MessageRecord),
                example=_DETAILS,
            ),
        ),
        refusals=(
            errors.NotFound,
            errors.InvalidQuery,
            errors.NotYetProjected,
            errors.UnknownEvent,
        ),
    ),
)
