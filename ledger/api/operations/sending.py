"""``POST /Messages``: sending a text."""

from typing import Final

from pydantic import JsonValue

from ledger import errors
from ledger.api.keys import WRITE
from ledger.api.operations.operation import Answer, Body, Operation, Parameter
from ledger.api.sending_models import MessageInput, OutgoingMessage

_EXAMPLE: Final[dict[str, JsonValue]] = {
    "id": "8d1f5a52-9a52-8c3e-9a1e-0b7a4f6f2f10",
    "sid": "SM0123456789abcdef0123456789abcdef",
    "direction": "outgoing",
    "to": "+14155550100",
    "from": "+14155550199",
    "sender": "+14155550199",
    "status": "queued",
    "errorCode": None,
    "sendAt": None,
    "requestedAt": "2026-01-31T12:00:00Z",
    "position": 43,
}


_OPEN: Final[dict[str, JsonValue]] = {"sid": None, "status": "requested"}


def _answer(code: int, description: str, example: JsonValue) -> Answer:
    return Answer(
        status=code,
        description=description,
        models=(OutgoingMessage,),
        example=example,
        headers=("Ledger-Position",),
    )


SENDING: Final = (
    Operation(
        method="post",
        path="/Messages",
        name="sendMessage",
        tag="Messages",
        summary="Send a text, if the person's consent allows it",
        description="The check and the request are recorded before Twilio is asked, "
        "and its answer after. `decidedBy` of a refusal is the event that decides.",
        roles=WRITE,
        parameters=(
            Parameter(
                name="Idempotency-Key",
                place="header",
                schema={"type": "string", "minLength": 1, "maxLength": 255},
                description="Names the text once and for ever: the same call may "
                "be made again after any failure, and sends it once. Printable "
                "characters.",
            ),
        ),
        body=Body(
            model=MessageInput,
            example={
                "to": "+14155550100",
                "from": "+14155550199",
                "body": "Your order is on its way.",
            },
            invalid=errors.InvalidMessage,
        ),
        answers=(
            _answer(200, "A repeat: the text as it is now.", _EXAMPLE),
            _answer(201, "Twilio has it.", _EXAMPLE),
            _answer(
                202,
                "It is not known whether Twilio has it; Twilio is asked later.",
                {**_EXAMPLE, **_OPEN},
            ),
        ),
        refusals=(
            errors.InvalidPhoneNumber,
            errors.NotAllowed,
            errors.IdempotencyKeyReused,
            errors.MessageFailed,
            errors.QueueFull,
            errors.UnknownEvent,
        ),
    ),
)
