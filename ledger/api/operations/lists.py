"""``/PhoneNumbers/``: reading many numbers at once, or each as it changes."""

from typing import Final

from pydantic import JsonValue

from ledger import errors
from ledger.api.formats import CSV, EVENT_STREAM
from ledger.api.keys import READ
from ledger.api.models import Collection, PastSummary, PhoneNumberSummary, SenderSummary
from ledger.api.operations.operation import (
    IF_NONE_MATCH,
    LAST_EVENT_ID,
    PAST,
    PAST_REFUSALS,
    SNAPSHOT,
    Answer,
    Operation,
    Parameter,
    Refusals,
    Schema,
)
from ledger.api.query import LIMIT_DEFAULT, LIMIT_MAX

_TIME: Final[Schema] = {"type": "string", "format": "date-time"}
_POSITION: Final[Schema] = {"type": "string", "pattern": "^-?[0-9]{1,18}$"}
_NAMED: Final[dict[str, tuple[Schema, str]]] = {
    "status": (
        {"enum": ["in", "out", "unknown"]},
        "What a number says; `unknown` where it was in, and that has lapsed.",
    ),
    "sender": (
        {"type": "string", "minLength": 1},
        "The numbers that have said something to this sender, and what they say to it.",
    ),
    "phoneNumber": ({"type": "string", "minLength": 1}, "One number, or a range."),
    "since": (_TIME, "When the deciding event occurred."),
    "position": (_POSITION, "Position of the number's newest event."),
    "updatedSince": (_TIME, "Only what has changed since then, in order of position."),
    "limit": (
        {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX},
        f"Records in one answer; {LIMIT_DEFAULT} if it is left out.",
    ),
    "cursor": (
        {"type": "string", "minLength": 1},
        "Where a page ended: `Link` of the page before has it.",
    ),
}
_QUERY: Final = tuple(
    Parameter(name=name, place="query", schema=schema, description=description)
    for name, (schema, description) in _NAMED.items()
)
_FORMS: Final = (
    "Conditions are joined by `&`. Beside `=` there are `!=`, `=ne=`, `=gt=`, `=ge=`, "
    "`=lt=`, `=le=` and, for prefixes, `=sw=`; the collection says which of them an "
    "index serves for which attribute, and any other is refused. `limit(start,end)`, "
    "`sort(status,-since)` and `select(phoneNumber,status)` stand by themselves. A "
    "plus sign is best sent as `%2B`. With `asOf` or `knownAt`, the list of then: by "
    "`status` and `sender` alone, and a page may be short, or empty, and go on."
)
_REFUSALS: Final[Refusals] = (
    errors.InvalidQuery,
    errors.UnknownAttribute,
    errors.UnknownOperator,
    errors.FilterNotIndexed,
    errors.SortNotIndexed,
    errors.InvalidValue,
    errors.InvalidLimit,
    errors.InvalidCursor,
    *PAST_REFUSALS,
    errors.NotYetProjected,
    errors.QueueFull,
)
_AT: Final = "2026-01-31T12:00:00Z"
_LIST_EXAMPLE: Final[JsonValue] = [
    {
        "phoneNumber": "+14155550100",
        "status": "out",
        "since": _AT,
        "position": 41,
        "version": 2,
    }
]


def _page(*media_types: str) -> tuple[Answer, Answer]:
    return (
        Answer(
            status=200,
            description="A page; `Link` names the next, where there is one.",
            models=(PhoneNumberSummary, SenderSummary, PastSummary),
            are_many=True,
            can_be_parts=True,
            media_types=media_types,
            example=_LIST_EXAMPLE,
            headers=("ETag", "Link", "Vary"),
        ),
        Answer(
            status=304,
            description="As the client has it.",
            headers=("ETag", "Link", "Vary"),
        ),
    )


LISTING: Final = (
    Operation(
        method="get",
        path="/PhoneNumbers",
        name="describePhoneNumbers",
        tag="Phone numbers",
        summary="What the list has, and what it can be asked",
        roles=READ,
        answers=(
            Answer(
                status=200,
                description="The collection.",
                models=(Collection,),
            ),
        ),
    ),
    Operation(
        method="get",
        path="/PhoneNumbers/",
        name="listPhoneNumbers",
        tag="Phone numbers",
        summary="Which numbers are out, or in?",
        description=f"{_FORMS} With `Accept: text/event-stream`, every change to come.",
        roles=READ,
        parameters=(*_QUERY, *PAST, IF_NONE_MATCH, SNAPSHOT, LAST_EVENT_ID),
        answers=_page("application/json", CSV, EVENT_STREAM),
        refusals=(*_REFUSALS, errors.NotAcceptable, errors.TryAgain),
    ),
    Operation(
        method="get",
        path="/PhoneNumbers/.json",
        name="listPhoneNumbersAsJson",
        tag="Phone numbers",
        summary="The list as JSON, whatever is accepted",
        roles=READ,
        parameters=(*_QUERY, *PAST, IF_NONE_MATCH),
        answers=_page("application/json"),
        refusals=_REFUSALS,
    ),
    Operation(
        method="get",
        path="/PhoneNumbers/.csv",
        name="listPhoneNumbersAsCsv",
        tag="Phone numbers",
        summary="The list as CSV, for a spreadsheet",
        roles=READ,
        parameters=(*_QUERY, *PAST, IF_NONE_MATCH),
        answers=_page(CSV),
        refusals=_REFUSALS,
    ),
)
