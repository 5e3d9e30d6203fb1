"""``/events``: the ledger itself, for replay and live."""

from typing import Final

from ledger import errors
from ledger.api.formats import EVENT_STREAM, NDJSON
from ledger.api.keys import AUDIT
from ledger.api.operations.operation import (
    LAST_EVENT_ID,
    TEXT,
    Answer,
    Operation,
    Parameter,
)

REPLAYING: Final = (
    Operation(
        method="get",
        path="/events",
        name="readEvents",
        tag="Ledger",
        summary="Every event of the ledger, from any position",
        description="One event a line, `position` first, with what is personal open. "
        "An answer is whole if its last line has the position that `Ledger-Position` "
        "names; where something fails in the middle, the connection is cut. With "
        "`Accept: text/event-stream`, also every event to come, each with its position "
        "as `id`.",
        roles=AUDIT,
        parameters=(
            Parameter(
                name="after",
                place="query",
                schema={"type": "string", "pattern": "^[0-9]{1,18}$"},
                example="0",
                description="Begin after this position; at the first event if it is "
                "left out.",
            ),
            Parameter(
                name="limit",
                place="query",
                schema={"type": "integer", "minimum": 1, "maximum": 10**18 - 1},
                description="Most events in the answer. Not of a stream.",
            ),
            LAST_EVENT_ID,
        ),
        answers=(
            Answer(
                status=200,
                description="The events.",
                schema=TEXT,
                media_types=(NDJSON, EVENT_STREAM),
                headers=("Ledger-Position", "Vary"),
            ),
        ),
        refusals=(errors.InvalidQuery, errors.NotAcceptable, errors.TryAgain),
    ),
)
