"""``GET /PhoneNumbers/{number}``: what a number says now, or said at a time.

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
    number_in,
    parse_position,
    sender_in,
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
from ledger.api.keys import READ, Keys
from ledger.api.lists import CSV_HEADERS
from ledger.api.models import (
    PhoneNumberRecord,
    SenderRecord,
    Shape,
)
from ledger.api.past import PastReader
from ledger.api.point_in_time import PARAMETERS, moments_in, past_record, validator_of
from ledger.api.read_model import ReadModel
from ledger.domain.consent import Fact, deciding, status_for
from ledger.domain.ids import PhoneNumber, Sender, Version
from ledger.errors import InvalidQuery, NotAcceptable, NotFound

_PROPERTIES: Final = frozenset(
    ("phoneNumber", "status", "since", "position", "version", "senders")
)
_ALLOWED: Final = ("sender", "minPosition", *PARAMETERS)
_SELECT: Final = re.compile(r"select\((.*)\)")


class PhoneNumbersApi:
    """Answers about one number."""

    def __init__(
        self, keys: Keys, read_model: ReadModel, past: PastReader, feed: Feed
    ) -> None:
        self._keys = keys
        self._read_model = read_model
        self._past = past
        self._feed = feed

    def routes(self) -> list[web.RouteDef]:
        """The record, or one property of it."""
        return [web.get("/PhoneNumbers/{number}", self.get)]

    async def get(self, request: web.Request) -> web.StreamResponse:
        """What a number says now; or, as events, whatever it will say.

        ``?sender=`` asks for one sender, by the rule that the newest word to it or to
        every sender decides; ``?asOf=`` and ``?knownAt=`` for what held at a time and
        was known at another, also of a number never seen; ``?minPosition=`` waits until
        the table has reached it; ``?select(a,b)`` asks for some columns.

        Raises:
            NotFound: the number was never seen.
            InvalidMoment, FutureMoment: there is no such time, or it has not come.
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
        sender = sender_in(parameters.get("sender"))
        if (moments := moments_in(parameters)) is not None:
            _check_plain(content_type, name, parameters)
            await self._wait(parameters, "consent_history")
            told = await past_record(self._past, number, moments, sender)
            return _past_answer(request, told)
        selection = _selection(name, parameters, of_sender=sender is not None)
        await self._wait(parameters, "phone_numbers")
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

    async def _wait(self, parameters: Mapping[str, str], projection: str) -> None:
        if "minPosition" in parameters:
            position = parse_position("minPosition", parameters["minPosition"])
            await self._read_model.wait_for(position, projection)


def status_for_sender(record: PhoneNumberRecord, sender: Sender) -> SenderRecord:
    """What a record says to one sender (design rule 5, on deciding rows)."""
    facts = {
        Sender(row.sender): Fact(row.since, Version(row.position), row.status)
        for row in record.senders
    }
    fact = deciding(facts, sender)
    if fact is not None and fact.status == "unknown":
        fact = None
    said = status_for(facts, sender)
    status = status_for(facts, sender, suppressed=record.suppressed)
    return SenderRecord(
        phone_number=record.phone_number,
        sender=sender,
        status=status,
        since=fact.occurred_at if fact else None,
        position=record.position,
        version=record.version,
        erased=record.erased or status != said,
    )


def _past_answer(request: web.Request, body: bytes) -> web.Response:
    etag = validator_of(body)
    headers = {hdrs.ETAG: etag, hdrs.VARY: hdrs.ACCEPT}
    if is_unchanged(request, etag):
        return web.Response(status=304, headers=headers)
    return web.Response(body=body, content_type=JSON, headers=headers)


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
    if "select" not in request.query_string:
        return single_parameters(request, _ALLOWED)
    selects = [name for name in request.query if _SELECT.fullmatch(name)]
    parameters = dict(single_parameters(request, (*_ALLOWED, *selects)))
    if len(selects) > 1:
        raise InvalidQuery("select is given twice; give it once")
    for text in selects:
        parameters["select"] = text[len("select(") : -1]
    return parameters


def _check_plain(
    content_type: str, name: str | None, parameters: Mapping[str, str]
) -> None:
    """What was is answered whole, as JSON."""
    if content_type != JSON:
        raise NotAcceptable("what held at a time can be had as JSON")
    if name or "select" in parameters:
        raise InvalidQuery("what held at a time is answered whole: leave select out")


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
        return number_in(number), name
    return number_in(given), None
