"""Server-sent events: the current-status table as it changes.

A stream is the table read in order of position, over and over, from where the client
was. An event's id is a position, so ``Last-Event-ID`` resumes without a loss, and a
snapshot is the same reading from the beginning. A number that changed twice between two
readings comes once, with its newest state: this is a feed of what holds, not of what
happened. Never holds a transaction or a connection while it writes: a slow client falls
behind and then gets fewer, newer states. How streams end is ``streams``' work.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Final, Self

import orjson
from aiohttp import hdrs, web

from ledger.api import streams
from ledger.api.addresses import parse_position, single_parameters
from ledger.api.answers import to_json
from ledger.api.lists import read_list
from ledger.api.query import Bound, parse_query
from ledger.api.read_model import ReadModel
from ledger.api.serving import Serving
from ledger.api.streams import Streams
from ledger.domain.ids import PhoneNumber, Position
from ledger.errors import InvalidQuery, TryAgain
from ledger.settings import Settings
from ledger.store.batcher import Batcher
from ledger.store.subscription import Doorbell

_PAGE: Final = 500
_READS_WAITING_MAX: Final = 10_000
_BY_POSITION: Final = parse_query("sort(position)")


@dataclass(frozen=True, slots=True)
class Changes:
    """What has changed, as events, up to a position; maybe not all of it."""

    events: bytes
    position: Position
    is_all: bool


_Read = Callable[[Position], Awaitable[Changes]]


class Feed:
    """Writes streams. Use as ``async with``."""

    def __init__(
        self,
        serving: Serving,
        read_model: ReadModel,
        bell: Doorbell,
        streams: Streams,
        settings: Settings,
    ) -> None:
        self._serving = serving
        self._read_model = read_model
        self._bell = bell
        self._streams = streams
        # Streams that are up to date stand at the same position: one query for all.
        self._changes: Batcher[Position, Changes] = Batcher(
            self._read,
            batch_max=_READS_WAITING_MAX,
            queue_max=_READS_WAITING_MAX,
            timeout_seconds=settings.statement_timeout_seconds,
        )

    async def __aenter__(self) -> Self:
        """Start reading."""
        await self._changes.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop reading."""
        await self._changes.__aexit__(kind, error, trace)

    async def follow_all(self, request: web.Request) -> web.StreamResponse:
        """Every change of every number.

        Raises:
            InvalidQuery: Last-Event-ID is no position, or a parameter is not known.
            TryAgain: as many streams as may be are open, or the service stops.
        """
        return await self._follow(request, self._changes.submit)

    async def follow(
        self, request: web.Request, number: PhoneNumber
    ) -> web.StreamResponse:
        """Every change of one number, which may not have been seen yet."""

        async def read(after: Position) -> Changes:
            record = await self._read_model.find(number)
            if record is None or record.position <= after:
                return Changes(b"", after, is_all=True)
            event = _event(record.position, to_json(record))
            return Changes(event, Position(record.position), is_all=True)

        return await self._follow(request, read)

    async def _read(self, batch: Sequence[Position]) -> list[Changes]:
        read = {after: await self._read_after(after) for after in dict.fromkeys(batch)}
        return [read[after] for after in batch]

    async def _read_after(self, after: Position) -> Changes:
        bound = Bound(after, inclusive=False)
        query = replace(_BY_POSITION, lower=bound, limit=_PAGE)
        rows = await read_list(self._serving, query)
        events = b"".join(
            _event(row["position"], orjson.dumps(dict(row), option=orjson.OPT_UTC_Z))
            for row in rows
        )
        last = Position(rows[-1]["position"]) if rows else after
        return Changes(events, last, is_all=len(rows) <= _PAGE)

    async def _follow(self, request: web.Request, read: _Read) -> web.StreamResponse:
        after = await self._start(request)
        response = web.StreamResponse(headers=streams.EVENT_STREAM_HEADERS)
        async with self._streams.one(request):
            await response.prepare(request)
            if request.method != hdrs.METH_HEAD:
                await self._write_all(request, response, after, read)
        return response

    async def _start(self, request: web.Request) -> Position:
        """The position after which a client wants to know."""
        snapshot = single_parameters(request, ("snapshot",)).get("snapshot", "false")
        if snapshot not in ("true", "false"):
            raise InvalidQuery("snapshot is true, or is left out")
        # A client that comes back says so and has the snapshot, or a part of it.
        if last := request.headers.get("Last-Event-ID"):
            return parse_position("Last-Event-ID", last)
        if snapshot == "true":
            return Position(0)
        return await self._read_model.reached("phone_numbers")

    async def _write_all(
        self,
        request: web.Request,
        response: web.StreamResponse,
        after: Position,
        read: _Read,
    ) -> None:
        """Write what changes, until the client or the service ends it."""
        # Who is cut off before the first change resumes from here as well.
        await streams.write(response, b"retry: 1000\nid: %d\n\n" % after)
        written = asyncio.get_running_loop().time()
        while not streams.is_gone(request):
            rung = self._bell.count
            changes = await _patiently(read, after)
            now = asyncio.get_running_loop().time()
            if changes.events:
                await streams.write(response, changes.events)
                after, written = changes.position, now
            elif now - written >= streams.HEARTBEAT_SECONDS:
                await streams.write(response, b": nothing new\n\n")
                written = now
            if changes.is_all:
                await self._wait(rung)

    async def _wait(self, rung: int) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(streams.HEARTBEAT_SECONDS):
                await self._bell.wait_after(rung)


async def _patiently(read: _Read, after: Position) -> Changes:
    """What has changed; nothing, for now, while the database cannot say.

    A browser does not come back to a service that answered it 503, so a stream that was
    begun outlasts an outage.
    """
    try:
        return await read(after)
    except TryAgain:
        return Changes(b"", after, is_all=True)


def _event(position: int, record: bytes) -> bytes:
    return b"id: %d\nevent: put\ndata: %b\n\n" % (position, record)
