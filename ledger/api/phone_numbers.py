"""``GET /PhoneNumbers/{number}`` and its history.

Never computes a status other than from rows that the domain's rules have made.
"""

from typing import Final

import orjson
from aiohttp import hdrs, web

from ledger.api.addresses import (
    etag_of,
    is_unchanged,
    parse_position,
    single_parameters,
)
from ledger.api.answers import of_model, to_json
from ledger.api.keys import AUDIT, READ, Keys
from ledger.api.models import (
    History,
    HistoryEvent,
    PhoneNumberRecord,
    SenderRecord,
)
from ledger.api.read_model import ReadModel
from ledger.domain.ids import (
    EVERY_SENDER,
    PhoneNumber,
    Position,
    Version,
    canonical_number,
)
from ledger.errors import InvalidQuery, NotFound
from ledger.store.event_store import EventStore
from ledger.store.identity import IdentityLoader

HISTORY_EVENTS_MAX: Final = 10_000

_PROPERTIES: Final = frozenset(
    ("phoneNumber", "status", "since", "position", "version", "senders")
)


class PhoneNumbersApi:
    """Answers about one number."""

    def __init__(
        self,
        keys: Keys,
        read_model: ReadModel,
        store: EventStore,
        identity: IdentityLoader,
    ) -> None:
        self._keys = keys
        self._read_model = read_model
        self._store = store
        self._identity = identity

    def routes(self) -> list[web.RouteDef]:
        """The record, one property of it, and the history."""
        return [
            web.get("/PhoneNumbers/{number}", self.get),
            web.get("/PhoneNumbers/{number}/history", self.history),
        ]

    async def get(self, request: web.Request) -> web.Response:
        """What a number says now.

        ``?sender=`` asks for one sender, by the rule that the newest word to it or to
        every sender decides; ``?minPosition=`` waits until the table has reached it.

        Raises:
            NotFound: the number was never seen.
            NotYetProjected: the table did not reach minPosition in time.
        """
        await self._keys.require(request, READ)
        number, name = _number_and_property(request.match_info["number"])
        parameters = single_parameters(request, ("sender", "minPosition"))
        if "minPosition" in parameters:
            position = parse_position("minPosition", parameters["minPosition"])
            await self._read_model.wait_for(position, "phone_numbers")
        record = await self._read_model.find(number)
        if record is None:
            raise NotFound("this number was never seen")
        etag = etag_of(record)
        if is_unchanged(request, etag):
            return web.Response(status=304, headers={hdrs.ETAG: etag})
        response = _represent(record, name, parameters.get("sender"))
        response.headers[hdrs.ETAG] = etag
        return response

    async def history(self, request: web.Request) -> web.Response:
        """Every event of a number, oldest first; with evidence for auditors.

        At most 10,000 an answer; a ``Link: rel=next`` names the rest.

        Raises:
            NotFound: the number was never seen.
        """
        principal = await self._keys.require(request, READ)
        number = canonical_number(request.match_info["number"])
        parameters = single_parameters(request, ("after", "limit", "minPosition"))
        if "minPosition" in parameters:
            position = parse_position("minPosition", parameters["minPosition"])
            await self._read_model.wait_for(position, "consent_history")
        after = parse_position("after", parameters.get("after", "0"))
        limit = _limit(parameters.get("limit"))
        events = await self._read_model.history(number, after=after, limit=limit + 1)
        if not events and after == 0:
            raise NotFound("this number was never seen")
        page = events[:limit]
        if principal.role in AUDIT:
            page = await self._with_evidence(number, page)
        response = web.Response(
            body=to_json(History(phone_number=number, events=page), exclude_none=True),
            content_type="application/json",
        )
        if len(events) > limit:
            url = request.rel_url.update_query(after=page[-1].position)
            response.headers[hdrs.LINK] = f'<{url}>; rel="next"'
        return response

    async def _with_evidence(
        self, number: PhoneNumber, page: list[HistoryEvent]
    ) -> list[HistoryEvent]:
        """The same events, with what is kept only in the ledger itself."""
        if not page:
            return page
        subject = (await self._identity.load()).subject_id(number)
        streams = await self._store.read_streams(
            {subject: Version(page[0].version - 1)}
        )
        evidence = {recorded.position: recorded.event for recorded in streams[subject]}
        return [
            event.model_copy(
                update={"evidence": evidence[Position(event.position)].evidence}
            )
            for event in page
        ]


def status_for_sender(record: PhoneNumberRecord, sender: str) -> SenderRecord:
    """What a record says to one sender (design rule 5, on deciding rows)."""
    rows = {row.sender: row for row in record.senders}
    row = rows.get(sender) or rows.get(EVERY_SENDER)
    status = row.status if row else None
    return SenderRecord(
        phone_number=record.phone_number,
        sender=sender,
        status=status or ("out" if record.status == "out" else "unknown"),
        since=row.since if row else None,
        position=record.position,
        version=record.version,
    )


def _represent(
    record: PhoneNumberRecord, name: str | None, sender: str | None
) -> web.Response:
    shown = record if sender is None else status_for_sender(record, sender)
    if name is None:
        return of_model(shown)
    value = shown.model_dump(mode="json", by_alias=True).get(name)
    return web.Response(body=orjson.dumps(value), content_type="application/json")


def _number_and_property(given: str) -> tuple[PhoneNumber, str | None]:
    """``+1415….status`` is one property of the record, as the peer has it."""
    number, dot, name = given.rpartition(".")
    if dot and name in _PROPERTIES:
        return canonical_number(number), name
    return canonical_number(given), None


def _limit(given: str | None) -> int:
    if given is None:
        return HISTORY_EVENTS_MAX
    limit = parse_position("limit", given)
    if not 1 <= limit <= HISTORY_EVENTS_MAX:
        raise InvalidQuery(f"limit must be from 1 to {HISTORY_EVENTS_MAX}")
    return limit
