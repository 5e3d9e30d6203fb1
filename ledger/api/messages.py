"""``GET /Messages``: the log of texts, in and out.

Bodies are opened for auditors alone, one text at a time, from its events; and each such
reading is logged.
"""

import base64
import re
from collections.abc import Mapping, Sequence
from typing import Final

from aiohttp import hdrs, web

from ledger.api.addresses import parse_position, route_of, single_parameters
from ledger.api.answers import of_model, to_json
from ledger.api.keys import AUDIT, READ, Keys
from ledger.api.message_models import MessageDetails, MessageEventRecord
from ledger.api.message_reader import (
    DIRECTIONS,
    END,
    OPEN,
    Asked,
    Found,
    MessageReader,
)
from ledger.api.read_model import ReadModel
from ledger.domain.events import ConsentChanged, MessageEvent
from ledger.domain.ids import Position, Version, canonical_number
from ledger.errors import (
    InvalidCursor,
    InvalidLimit,
    InvalidQuery,
    InvalidValue,
    NotFound,
)
from ledger.reads import record_read
from ledger.store.codec import RecordedEvent
from ledger.store.event_store import EventStore
from ledger.store.keyring import Keyring, Opened

LIMIT_DEFAULT: Final = 100
LIMIT_MAX: Final = 1_000

_LIST: Final = (
    "direction",
    "to",
    "from",
    "counterparty",
    "cursor",
    "limit",
    "status",
)
_LIMIT: Final = re.compile(r"[0-9]{1,9}", re.ASCII)
_CURSOR: Final = re.compile(r"before ([1-9][0-9]{0,17})", re.ASCII)


class MessagesApi:
    """Answers with texts."""

    def __init__(
        self,
        keys: Keys,
        reader: MessageReader,
        read_model: ReadModel,
        store: EventStore,
        keyring: Keyring,
    ) -> None:
        self._keys = keys
        self._reader = reader
        self._read_model = read_model
        self._store = store
        self._keyring = keyring

    def routes(self) -> list[web.RouteDef]:
        """The list, and one text."""
        return [
            web.get("/Messages", self.list),
            web.get("/Messages/{sid}", self.get),
        ]

    async def list(self, request: web.Request) -> web.Response:
        """Texts, the newest first, without bodies.

        ``Link: rel=next`` names the rest, which stays the same whatever is new.

        Raises:
            InvalidQuery: a parameter is not one of the list's, or cannot be so.
            NotYetProjected, NotServed: try again.
        """
        await self._keys.require(request, READ)
        parameters = single_parameters(request, (*_LIST, "minPosition"))
        await self._wait(parameters)
        asked = _asked(parameters)
        # One more, to know whether there is more.
        found = await self._reader.page(asked._replace(limit=asked.limit + 1))
        page = found[: asked.limit]
        response = web.Response(
            body=b"[" + b",".join(map(to_json, page)) + b"]",
            content_type="application/json",
        )
        if len(found) > len(page):
            url = request.rel_url.update_query(cursor=_cursor(page[-1].position))
            response.headers[hdrs.LINK] = f'<{url}>; rel="next"'
        return response

    async def get(self, request: web.Request) -> web.Response:
        """One text, by Twilio's SID or its id here; with its body for auditors.

        Raises:
            NotFound: there is none, or its person was erased.
            NotYetProjected, NotServed: try again.
        """
        principal = await self._keys.require(request, READ)
        await self._wait(single_parameters(request, ("minPosition",)))
        found = await self._reader.find(_named(request.match_info["sid"]))
        if found is None:
            raise NotFound("no text of this SID or id is recorded")
        if principal.role not in AUDIT:
            return of_model(found.record)
        details = await self._details(found)
        record_read(
            principal.name,
            route_of(request),
            len(details.events),
            subject_id=found.subject_id,
            message_id=found.message_id,
        )
        return of_model(details)

    async def _wait(self, parameters: Mapping[str, str]) -> None:
        if "minPosition" in parameters:
            position = parse_position("minPosition", parameters["minPosition"])
            await self._read_model.wait_for(position, "messages")

    async def _details(self, found: Found) -> MessageDetails:
        """With its events opened, and what a consent event holds of them."""
        streams = await self._store.read_streams({found.message_id: Version(0)})
        recorded = streams[found.message_id].events
        caused = [p for p, e in recorded if isinstance(e, MessageEvent) and e.has_cause]
        causes = await self._store.read_at([Position(p - 1) for p in caused])
        consents = [e for _, e in causes if isinstance(e, ConsentChanged)]
        of_consents = await self._keyring.opened(consents)
        opened = await self._keyring.opened(
            [e for _, e in recorded if isinstance(e, MessageEvent)]
        )
        held = {p + 1: one for (p, _), one in zip(causes, of_consents, strict=True)}
        events = [
            _event(each, held.get(each.position) or one)
            for each, one in zip(recorded, opened, strict=True)
        ]
        return MessageDetails(
            **found.record.model_dump(), body=_body(events), events=events
        )


def _event(recorded: RecordedEvent, opened: Opened) -> MessageEventRecord:
    position, event = recorded
    told = vars(event)
    first = "requested" if "send_at" in told else "received"
    return MessageEventRecord(
        position=position,
        kind=type(event).__name__,
        status=told.get("status", first),
        error_code=told.get("error_code"),
        source=told.get("source"),
        actor=told["actor"],
        occurred_at=event.occurred_at,
        recorded_at=event.recorded_at,
        evidence=None if opened.evidence is None else dict(opened.evidence),
    )


def _body(events: Sequence[MessageEventRecord]) -> str | None:
    """What it says, in the words of whoever told first: Twilio's, or our own."""
    for event in events:
        for name in ("Body", "body"):
            said = (event.evidence or {}).get(name)
            if isinstance(said, str):
                return said
    return None


def _asked(parameters: Mapping[str, str]) -> Asked:
    given = {
        name: _address(name, parameters[name])
        for name in _LIST[1:4]
        if name in parameters
    }
    direction = parameters.get("direction")
    if direction is not None and direction not in DIRECTIONS:
        raise InvalidValue(f"direction is {' or '.join(DIRECTIONS)}")
    counterparty = given.get("counterparty")
    status = parameters.get("status")
    if status is not None and status not in OPEN:
        raise InvalidValue(f"status is one of {', '.join(OPEN)}")
    if status is not None and (given or direction == "incoming"):
        raise InvalidQuery("status is of all outgoing texts, whoever they are to")
    return Asked(
        status=status,
        directions=[d for d in DIRECTIONS if direction in (None, d)],
        to=given.get("to"),
        from_=given.get("from"),
        counterparty=canonical_number(counterparty) if counterparty else None,
        before=_before(parameters.get("cursor")),
        limit=_limit(parameters.get("limit")),
    )


def _named(given: str) -> str:
    if "\0" in given:
        raise NotFound("no text of this SID or id is recorded")
    return given


def _address(name: str, given: str) -> str:
    """A number or an address; a plus that was not sent as %2B is a space there."""
    address = re.sub("^ (?=[0-9])", "+", given)
    if not address.strip() or "\0" in address:
        raise InvalidQuery(f"{name} is a number or an address")
    return address


def _limit(given: str | None) -> int:
    if given is None:
        return LIMIT_DEFAULT
    if not _LIMIT.fullmatch(given) or not 1 <= int(given) <= LIMIT_MAX:
        raise InvalidLimit(f"limit is from 1 to {LIMIT_MAX}")
    return int(given)


def _cursor(position: int) -> str:
    return base64.urlsafe_b64encode(b"before %d" % position).decode().rstrip("=")


def _before(cursor: str | None) -> int:
    if cursor is None:
        return END
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True)
        matched = _CURSOR.fullmatch(text.decode("ascii"))
    except ValueError:
        matched = None
    if matched is None:
        raise InvalidCursor("take it from the Link of a page of this list")
    return int(matched[1])
