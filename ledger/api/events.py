"""``GET /events``: the ledger itself, for replay, and live.

Every batch is a statement of its own, read when the client has taken the one before it:
memory is bounded by a batch, and a slow client holds neither a transaction nor a
connection. Never ends well what is not whole: a fault in the middle of lines cuts the
connection, and in an event stream it is a ``problem`` event. The subtle part is that
some proxies end well what was cut: ``Ledger-Position`` says which line is the last.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from aiohttp import hdrs, web

from ledger.api import streams
from ledger.api.addresses import parse_position, route_of, single_parameters
from ledger.api.formats import EVENT_STREAM, NDJSON, negotiate
from ledger.api.keys import AUDIT, Keys
from ledger.api.problems import document_of
from ledger.api.streams import Streams
from ledger.domain.ids import Position
from ledger.errors import Fault, InvalidQuery, LedgerError, TryAgain
from ledger.event_record import EventRecord, event_records, to_lines
from ledger.reads import record_read
from ledger.span import BATCH_MAX, Span
from ledger.store.event_store import EventStore
from ledger.store.keyring import Keyring
from ledger.store.subscription import Doorbell

log = logging.getLogger(__name__)

_POSITION: Final = "Ledger-Position"
_NO_LIMIT: Final = "9" * 18
_HEADERS: Final[dict[str, dict[str, str]]] = {
    NDJSON: {
        hdrs.CONTENT_TYPE: NDJSON,
        hdrs.CACHE_CONTROL: "no-store",
        hdrs.VARY: hdrs.ACCEPT,
    },
    EVENT_STREAM: streams.EVENT_STREAM_HEADERS,
}
_PROBLEM_RETRY_SECONDS: Final = 60
"""A fault is not over in a second, after which a browser would come back."""


@dataclass(slots=True)
class _Sent:
    """What a client was sent."""

    position: Position
    """The last that it was sent, or after which it asked."""
    count: int = 0

    def add(self, records: Sequence[EventRecord]) -> None:
        self.position = records[-1]["position"]
        self.count += len(records)


class EventsApi:
    """Answers with events, as they are in the ledger, opened."""

    def __init__(
        self,
        keys: Keys,
        store: EventStore,
        keyring: Keyring,
        streams: Streams,
        bell: Doorbell,
    ) -> None:
        self._keys = keys
        self._store = store
        self._keyring = keyring
        self._streams = streams
        # It rings when the tables have advanced: who is told of an event can most often
        # read already what it has changed. It is polled where no projection runs.
        self._bell = bell

    def routes(self) -> list[web.RouteDef]:
        """The ledger."""
        return [web.get("/events", self.get)]

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Events in order of position: those that there are, or also those to come.

        Raises:
            InvalidQuery: what is to begin or end the part is no position or number.
            NotAcceptable: neither lines nor an event stream is wanted.
            TryAgain: as many streams as may be are open, or the service stops.
        """
        principal = await self._keys.require(request, AUDIT)
        content_type = negotiate(
            request.headers.get(hdrs.ACCEPT), (NDJSON, EVENT_STREAM)
        )
        is_live = content_type == EVENT_STREAM
        span = await self._span(request, is_live=is_live)
        headers = _HEADERS[content_type] | {_POSITION: str(span.until)}
        response = web.StreamResponse(headers=headers)
        sent = _Sent(span.after)
        is_whole = False
        try:
            async with self._streams.one(request):
                if request.method == hdrs.METH_HEAD:
                    await response.prepare(request)
                elif is_live:
                    await self._follow(request, response, sent)
                else:
                    await self._replay(request, response, span, sent)
                is_whole = True
        except LedgerError as error:
            if response.prepared:
                position = {"code": error.code, "position": sent.position}
                log.exception("events_cut", extra=position)
            raise
        finally:
            if response.prepared and not is_whole:
                streams.cut(request)
            if sent.count:
                record_read(
                    principal.name,
                    route_of(request),
                    sent.count,
                    after=span.after,
                    until=sent.position,
                )
        if not response.prepared:
            raise TryAgain("the service stops")
        return response

    async def _span(self, request: web.Request, *, is_live: bool) -> Span:
        """What is asked for, of what the ledger has now."""
        parameters = single_parameters(request, ("after", "limit"))
        after = parse_position("after", parameters.get("after", "0"))
        if is_live and "limit" in parameters:
            raise InvalidQuery("a stream that follows has no limit: leave it out")
        if is_live and (given := request.headers.get("Last-Event-ID")):
            after = parse_position("Last-Event-ID", given)
        limit = parse_position("limit", parameters.get("limit", _NO_LIMIT))
        if limit < 1:
            raise InvalidQuery("limit must be 1 or more")
        last = await self._store.last_position()
        return Span(after, Position(min(last, after + limit)))

    async def _replay(
        self,
        request: web.Request,
        response: web.StreamResponse,
        span: Span,
        sent: _Sent,
    ) -> None:
        """Write what there is, a line each."""
        # Read before the answer begins: a fault there has a status of its own.
        records = await self._next(span)
        await response.prepare(request)
        while records:
            sent.add(records)
            await streams.write(response, to_lines(records))
            records = await self._next(span.rest(sent.position))

    async def _follow(
        self, request: web.Request, response: web.StreamResponse, sent: _Sent
    ) -> None:
        """Write what there is and what comes, until one of the two sides ends it."""
        await response.prepare(request)
        await streams.write(response, b"retry: 1000\nid: %d\n\n" % sent.position)
        clock = asyncio.get_running_loop().time
        written = clock()
        while not streams.is_gone(request):
            rung = self._bell.count
            try:
                records = await self._news(sent.position)
            except Fault as fault:
                await streams.write(response, _problem_event(fault))
                raise
            if records:
                sent.add(records)
                await streams.write(response, _events(records))
                written = clock()
            elif clock() - written >= streams.HEARTBEAT_SECONDS:
                await streams.write(response, b": nothing new\n\n")
                written = clock()
            if len(records) < BATCH_MAX:
                await self._wait(rung)

    async def _wait(self, rung: int) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(streams.HEARTBEAT_SECONDS):
                await self._bell.wait_after(rung)

    async def _next(self, span: Span) -> list[EventRecord]:
        return await event_records(self._keyring, await span.next_batch(self._store))

    async def _news(self, after: Position) -> list[EventRecord]:
        """What comes after a position; nothing, for now, while the database is down.

        Who follows would come back again and again to a service that answers 503.
        """
        try:
            recorded = await self._store.read_after(after, BATCH_MAX)
            return await event_records(self._keyring, recorded)
        except TryAgain:
            return []


def _events(records: Sequence[EventRecord]) -> bytes:
    # A line of JSON has no line break in it, so it is one line of data.
    return b"".join(
        b"id: %d\ndata: %b\n" % (record["position"], to_lines([record]))
        for record in records
    )


def _problem_event(fault: Fault) -> bytes:
    """What ends a stream; not named ``error``, as browsers call a lost connection."""
    return b"retry: %d\nevent: problem\ndata: %b\n\n" % (
        1000 * _PROBLEM_RETRY_SECONDS,
        document_of(fault),
    )
