"""``GET /PhoneNumbers/{number}`` and its history.

Never computes a status other than from rows that the domain's rules have made.
"""

import re
from collections.abc import Mapping
from typing import Final

import orjson
from aiohttp import hdrs, web

from ledger.api.addresses import (
    etag_of,
    is_unchanged,
    parse_position,
    single_parameters,
)
from ledger.api.answers import of_model
from ledger.api.feed import Feed
from ledger.api.formats import (
    CSV,
    EVENT_STREAM,
    JSON,
    Selection,
    csv_rows,
    negotiate,
    parse_selection,
    split_extension,
)
from ledger.api.keys import AUDIT, READ, Keys
from ledger.api.lists import CSV_HEADERS
from ledger.api.models import (
    History,
    HistoryEvent,
    PhoneNumberRecord,
    SenderRecord,
    Shape,
)
from ledger.api.read_model import ReadModel
from ledger.domain.consent import Fact, deciding, status_for
from ledger.domain.events import ConsentChanged
from ledger.domain.ids import PhoneNumber, Sender, SubjectId, Version, canonical_number
from ledger.errors import InvalidQuery, NotFound
from ledger.store.event_store import EventStore
from ledger.store.keyring import Keyring

HISTORY_EVENTS_MAX: Final = 10_000

_PROPERTIES: Final = frozenset(
    ("phoneNumber", "status", "since", "position", "version", "senders")
)
_SELECT: Final = re.compile(r"select\((.*)\)")


class PhoneNumbersApi:
    """Answers about one number."""

    def __init__(
        self,
        keys: Keys,
        read_model: ReadModel,
        store: EventStore,
        keyring: Keyring,
        feed: Feed,
    ) -> None:
        self._keys = keys
        self._read_model = read_model
        self._store = store
        self._keyring = keyring
        self._feed = feed

    def routes(self) -> list[web.RouteDef]:
        """The record, one property of it, and the history."""
        return [
            web.get("/PhoneNumbers/{number}", self.get),
            web.get("/PhoneNumbers/{number}/history", self.history),
        ]

    async def get(self, request: web.Request) -> web.StreamResponse:
        """What a number says now; or, as events, whatever it will say.

        ``?sender=`` asks for one sender, by the rule that the newest word to it or to
        every sender decides; ``?minPosition=`` waits until the table has reached it;
        ``?select(a,b)`` asks for some columns.

        Raises:
            NotFound: the number was never seen.
            NotYetProjected: the table did not reach minPosition in time.
            NotAcceptable: the record cannot be had in what Accept names.
        """
        await self._keys.require(request, READ)
        given, content_type = split_extension(request.match_info["number"])
        number, name = _number_and_property(given)
        content_type = content_type or _negotiated(request, name)
        if content_type == EVENT_STREAM:
            return await self._feed.follow(request, number)
        parameters = _parameters(request) if request.query_string else {}
        sender = _sender(parameters.get("sender"))
        selection = _selection(name, parameters, of_sender=sender is not None)
        if "minPosition" in parameters:
            position = parse_position("minPosition", parameters["minPosition"])
            await self._read_model.wait_for(position, "phone_numbers")
        record = await self._read_model.find(number)
        if record is None:
            raise NotFound("this number was never seen")
        etag = etag_of(record)
        if content_type == CSV:
            # Under one address, each format has a strong validator of its own.
            etag = f'{etag[:-1]}-csv"'
        headers: dict[str, str] = {hdrs.ETAG: etag, hdrs.VARY: hdrs.ACCEPT}
        if is_unchanged(request, etag):
            return web.Response(status=304, headers=headers)
        shown = record if sender is None else status_for_sender(record, sender)
        if content_type == CSV:
            return _as_csv(shown, selection, headers)
        return _as_json(shown, selection, headers)

    async def history(self, request: web.Request) -> web.Response:
        """Every event of a number, oldest first; with evidence for auditors.

        Of a number that was erased, those since. At most 10,000 an answer; a
        ``Link: rel=next`` names the rest.

        Raises:
            NotFound: the number was never seen.
        """
        principal = await self._keys.require(request, READ)
        number = _number(request.match_info["number"])
        parameters = single_parameters(request, ("after", "limit", "minPosition"))
        if "minPosition" in parameters:
            position = parse_position("minPosition", parameters["minPosition"])
            await self._read_model.wait_for(position, "consent_history")
        after = parse_position("after", parameters.get("after", "0"))
        limit = _limit(parameters.get("limit"))
        told = await self._read_model.history(number, after=after, limit=limit + 1)
        if not told.events and after == 0 and not told.erased:
            raise NotFound("this number was never seen")
        page = told.events[:limit]
        if principal.role in AUDIT and page:
            page = await self._with_evidence(told.subject_id, page)
        response = of_model(
            History(phone_number=number, events=page, erased=told.erased)
        )
        if len(told.events) > limit:
            url = request.rel_url.update_query(after=page[-1].position)
            response.headers[hdrs.LINK] = f'<{url}>; rel="next"'
        return response

    async def _with_evidence(
        self, subject_id: SubjectId, page: list[HistoryEvent]
    ) -> list[HistoryEvent]:
        """The same events, with what is kept only in the ledger itself, sealed."""
        streams = await self._store.read_streams(
            {subject_id: Version(page[0].version - 1)}
        )
        shown = {event.position for event in page}
        sealed = [
            event
            for position, event in streams[subject_id].events
            if position in shown and isinstance(event, ConsentChanged)
        ]
        opened = await self._keyring.opened(sealed)
        return [
            event.model_copy(
                update={"evidence": evidence, "evidence_erased": evidence is None}
            )
            for event, (_, evidence) in zip(page, opened, strict=True)
        ]


def status_for_sender(record: PhoneNumberRecord, sender: str) -> SenderRecord:
    """What a record says to one sender (design rule 5, on deciding rows)."""
    facts = {
        Sender(row.sender): Fact(row.since, Version(row.position), row.status)
        for row in record.senders
    }
    fact = deciding(facts, Sender(sender))
    said = status_for(facts, Sender(sender))
    status = status_for(facts, Sender(sender), suppressed=record.suppressed)
    return SenderRecord(
        phone_number=record.phone_number,
        sender=sender,
        status=status,
        since=fact.occurred_at if fact else None,
        position=record.position,
        version=record.version,
        erased=record.erased or status != said,
    )


def _as_json(
    shown: Shape, selection: Selection | None, headers: Mapping[str, str]
) -> web.Response:
    if selection is None:
        return of_model(shown, headers=headers)
    value = selection.of(_columns(shown, selection))
    body = orjson.dumps(value, option=orjson.OPT_UTC_Z)
    return web.Response(body=body, content_type=JSON, headers=headers)


def _as_csv(
    shown: Shape, selection: Selection | None, headers: Mapping[str, str]
) -> web.Response:
    of_sender = isinstance(shown, SenderRecord)
    chosen = selection or parse_selection(None, of_sender=of_sender)
    rows = csv_rows(chosen.columns, [_columns(shown, chosen)])
    return web.Response(body=b"".join(rows), headers={**headers, **CSV_HEADERS})


def _columns(shown: Shape, selection: Selection) -> Mapping[str, object]:
    # What a number says to one sender has no senders: null.
    return dict.fromkeys(selection.columns) | shown.model_dump(by_alias=True)


def _negotiated(request: web.Request, name: str | None) -> str:
    accept = request.headers.get(hdrs.ACCEPT)
    if accept is None or accept == "*/*":
        return JSON
    return negotiate(accept, (JSON, CSV) if name else (JSON, CSV, EVENT_STREAM))


def _parameters(request: web.Request) -> Mapping[str, str]:
    """The query's parameters; of ``select(a,b)``, the peer's form, what is in it."""
    selects = [name for name in request.query if _SELECT.fullmatch(name)]
    allowed = ("sender", "minPosition", *selects)
    parameters = dict(single_parameters(request, allowed))
    if len(selects) > 1:
        raise InvalidQuery("select is given twice; give it once")
    for text in selects:
        parameters["select"] = text[len("select(") : -1]
    return parameters


def _selection(
    name: str | None, parameters: Mapping[str, str], *, of_sender: bool
) -> Selection | None:
    if name and "select" in parameters:
        raise InvalidQuery(f"the path asks for {name} alone: leave select out")
    if name:
        return Selection((name,), "values")
    if "select" in parameters:
        return parse_selection(parameters["select"], of_sender=of_sender)
    return None


def _number_and_property(given: str) -> tuple[PhoneNumber, str | None]:
    """``+1415….status`` is one property of the record, as the peer has it."""
    number, dot, name = given.rpartition(".")
    if dot and name in _PROPERTIES:
        return _number(number), name
    return _number(given), None


def _number(given: str) -> PhoneNumber:
    if "\0" in given:
        # PostgreSQL's text has none, so no record can have this address.
        raise NotFound("this number was never seen")
    return canonical_number(given)


def _sender(given: str | None) -> str | None:
    """A plus sign that was not sent as %2B has become a space."""
    if given == "":
        raise InvalidQuery("sender is empty: leave it out to ask for every sender")
    return re.sub("^ (?=[0-9])", "+", given) if given else None


def _limit(given: str | None) -> int:
    if given is None:
        return HISTORY_EVENTS_MAX
    limit = parse_position("limit", given)
    if not 1 <= limit <= HISTORY_EVENTS_MAX:
        raise InvalidQuery(f"limit must be from 1 to {HISTORY_EVENTS_MAX}")
    return limit
