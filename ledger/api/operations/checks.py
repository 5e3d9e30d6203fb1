"""``/PhoneNumbers/check`` and the receipts of it."""

from typing import Final

from pydantic import JsonValue

from ledger import errors
from ledger.api.check_models import (
    CheckAnswer,
    CheckInput,
    CheckReceipt,
    ReceiptVerdict,
)
from ledger.api.formats import CSV
from ledger.api.keys import AUDIT, READ
from ledger.api.operations.operation import (
    PAST,
    PAST_REFUSALS,
    TEXT,
    Answer,
    Body,
    Operation,
    Parameter,
)

_ID: Final = "0b9c7c0e-4a58-4f0e-9d55-5a2f6f0f3c11"
_AT: Final = "2026-01-31T12:00:00Z"
_DIGEST: Final = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_RECEIPT: Final = Parameter(
    name="receipt",
    place="path",
    required=True,
    schema={"type": "string", "format": "uuid"},
    example=_ID,
    description="The id in the answer's `receipt`.",
)
_RECEIPT_EXAMPLE: Final[JsonValue] = {
    "receipt": _ID,
    "position": 43,
    "recordedAt": _AT,
    "actor": "key:campaigns",
    "sender": "+14155550199",
    "asOf": None,
    "knownAt": None,
    "region": None,
    "readPosition": 42,
    "numbers": 2,
    "requestDigest": _DIGEST,
    "answerDigest": _DIGEST,
}

CHECKING: Final = (
    Operation(
        method="post",
        path="/PhoneNumbers/check",
        name="checkPhoneNumbers",
        tag="Phone numbers",
        summary="May I text each of these numbers?",
        description="Up to 10,000 numbers, each answered in the order of the list, all "
        "as they stood at one position. A number that is none is marked, and the rest "
        "is answered. As `text/csv` the list is the column named `phoneNumber`, and "
        "the parameters stand in the query; with JSON they stand in the body.",
        roles=READ,
        parameters=(
            Parameter(
                name="sender",
                place="query",
                schema={"type": "string", "minLength": 1},
                description="Of a CSV body: as `sender` in JSON.",
            ),
            *PAST,
            Parameter(
                name="minPosition",
                place="query",
                schema={"type": "string", "pattern": "^[0-9]{1,18}$"},
                description="Of a CSV body: as `minPosition` in JSON.",
            ),
            Parameter(
                name="record",
                place="query",
                schema={"enum": ["true", "false"]},
                description="Of a CSV body: as `record` in JSON.",
            ),
            Parameter(
                name="region",
                place="query",
                schema={"type": "string", "pattern": "^[A-Z]{2}$"},
                description="Of a CSV body: as `region` in JSON.",
            ),
        ),
        body=Body(
            model=CheckInput,
            example={
                "phoneNumbers": ["+14155550100", "+1 415 555 0101"],
                "sender": "+14155550199",
            },
            content={CSV: dict(TEXT)},
            invalid=errors.InvalidRequest,
        ),
        answers=(
            Answer(
                status=200,
                description="What each number says.",
                models=(CheckAnswer,),
                media_types=("application/json", CSV),
                headers=("Vary",),
                example={
                    "position": 42,
                    "asOf": None,
                    "knownAt": None,
                    "sender": "+14155550199",
                    "results": [
                        {
                            "phoneNumber": "+14155550100",
                            "given": "+14155550100",
                            "status": "out",
                            "position": 41,
                            "since": _AT,
                        },
                        {
                            "phoneNumber": "+14155550101",
                            "given": "+1 415 555 0101",
                            "status": "unknown",
                            "position": None,
                            "since": None,
                        },
                    ],
                },
            ),
        ),
        refusals=(
            errors.InvalidQuery,
            *PAST_REFUSALS,
            errors.TooManyNumbers,
            errors.NoNumberColumn,
            errors.UnknownRegion,
            errors.NotAcceptable,
            errors.NotYetProjected,
            errors.TryAgain,
        ),
    ),
    Operation(
        method="get",
        path="/checks/{receipt}",
        name="readReceipt",
        tag="Receipts",
        summary="Who asked what, when, and with which answer?",
        description="What the ledger keeps of a list that was checked with `record`. "
        "It has no number and no status.",
        roles=AUDIT,
        parameters=(_RECEIPT,),
        answers=(
            Answer(
                status=200,
                description="The receipt.",
                models=(CheckReceipt,),
                example=_RECEIPT_EXAMPLE,
            ),
        ),
        refusals=(errors.InvalidQuery, errors.NotFound),
    ),
    Operation(
        method="post",
        path="/checks/{receipt}/verify",
        name="verifyReceipt",
        tag="Receipts",
        summary="Is this the answer that was given?",
        description="Send the saved answer, byte for byte; or, with its salt in "
        "`Receipt-Salt`, the saved request.",
        roles=AUDIT,
        parameters=(
            _RECEIPT,
            Parameter(
                name="Receipt-Salt",
                place="header",
                schema={"type": "string", "pattern": "^[0-9a-f]{32}$"},
                description="The answer's `salt`: the body is then the request.",
            ),
        ),
        body=Body(content={"application/octet-stream": {}}),
        answers=(
            Answer(
                status=200,
                description="Whether it is.",
                models=(ReceiptVerdict,),
                example={"receipt": _ID, "part": "answer", "matches": True},
            ),
        ),
        refusals=(errors.InvalidQuery, errors.NotFound),
    ),
)
