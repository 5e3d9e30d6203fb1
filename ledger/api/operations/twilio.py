"""The webhook, as Twilio calls it."""

from typing import Final

from ledger import errors
from ledger.api.operations.operation import (
    JSON,
    TEXT,
    Answer,
    Body,
    Operation,
    Parameter,
    Schema,
)

_SIGNATURE: Final = Parameter(
    name="X-Twilio-Signature",
    place="header",
    required=True,
    description="Twilio's signature of the public URL, the raw path and the form.",
)

_TWIML: Final = Answer(
    status=200,
    description="Durable, or of no consequence for consent. Twilio is told to text "
    "nothing.",
    schema=TEXT,
    media_types=("text/xml",),
    example='<?xml version="1.0" encoding="UTF-8"?><Response/>',
)
_TEXT_FIELDS: Final[dict[str, str]] = {
    "AccountSid": "Whose auth token made the signature.",
    "MessageSid": "Names the text; a repeat counts once.",
    "From": "Who texted: the person.",
    "To": "Which of our addresses was texted.",
    "MessagingServiceSid": "The sender, where there is one.",
    "Body": "What the text says.",
    "OptOutType": "STOP, START or HELP, where Advanced Opt-Out is on.",
}
_TEXT_NEEDED: Final = ("AccountSid", "MessageSid", "From")
_INBOUND_TEXT: Final[Schema] = {
    "type": "object",
    "description": "An inbound text, as Twilio sends it; every field is kept.",
    "properties": {
        name: {"type": "string", "description": text}
        for name, text in _TEXT_FIELDS.items()
    },
    "required": list(_TEXT_NEEDED),
    "additionalProperties": {"type": "string"},
}


def _webhook(path: str, suffix: str) -> tuple[Operation, Operation]:
    refusals = (
        errors.InvalidSignature,
        errors.UnusableText,
        errors.QueueFull,
        errors.UnknownEvent,
    )
    return (
        Operation(
            method="post",
            path=path,
            name=f"receiveText{suffix}",
            tag="Twilio",
            has_head=False,
            summary="Twilio's inbound webhook",
            description="Answered only once what it says is durable. JSON needs "
            "`bodySHA256` in the signed URL.",
            roles=None,
            parameters=(
                _SIGNATURE,
                Parameter(
                    name="bodySHA256",
                    place="query",
                    schema={"type": "string", "pattern": "^[0-9a-f]{64}$"},
                    description="SHA-256 of a JSON body.",
                ),
            ),
            body=Body(
                content={
                    "application/x-www-form-urlencoded": _INBOUND_TEXT,
                    JSON: _INBOUND_TEXT,
                }
            ),
            answers=(_TWIML,),
            refusals=refusals,
        ),
        Operation(
            method="get",
            path=path,
            name=f"receiveTextByQuery{suffix}",
            tag="Twilio",
            has_head=False,
            summary="Twilio's inbound webhook, with HTTP GET",
            roles=None,
            parameters=(
                _SIGNATURE,
                *(
                    Parameter(
                        name=name,
                        place="query",
                        description=text,
                        required=name in _TEXT_NEEDED,
                    )
                    for name, text in _TEXT_FIELDS.items()
                ),
            ),
            answers=(_TWIML,),
            refusals=refusals,
        ),
    )


_STATUS_FIELDS: Final[dict[str, str]] = {
    "AccountSid": "Whose auth token made the signature.",
    "MessageSid": "Names the text.",
    "MessageStatus": "What became of it; each counts once for a text.",
    "To": "To whom it goes: the person.",
    "From": "From which of our addresses.",
    "MessagingServiceSid": "The sender, where there is one.",
    "ErrorCode": "Why it failed; 21610 makes the number `out` for the sender.",
}
_STATUS: Final[Schema] = {
    "type": "object",
    "description": "A status callback, as Twilio sends it; every field is kept.",
    "properties": {
        name: {"type": "string", "description": text}
        for name, text in _STATUS_FIELDS.items()
    },
    "required": ["AccountSid", "MessageSid", "MessageStatus", "To"],
    "additionalProperties": {"type": "string"},
}

WEBHOOK: Final = (
    *_webhook("/optInStatus", ""),
    *_webhook("/twilio/incoming-message", "Alias"),
    Operation(
        method="post",
        path="/twilio/message-status",
        name="receiveStatus",
        tag="Twilio",
        summary="Twilio's status callback",
        description="Answered only once it is durable. Any order, any number of "
        "times; of texts that were sent elsewhere, too.",
        roles=None,
        parameters=(
            _SIGNATURE,
            Parameter(
                name="message",
                place="query",
                schema={"type": "string"},
                description="Which of our texts it is; in the URL that we give.",
            ),
        ),
        body=Body(content={"application/x-www-form-urlencoded": _STATUS}),
        answers=(Answer(status=204, description="Durable."),),
        refusals=(
            errors.InvalidSignature,
            errors.UnusableText,
            errors.QueueFull,
            errors.UnknownEvent,
        ),
    ),
)
