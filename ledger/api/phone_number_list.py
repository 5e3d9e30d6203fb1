"""``GET /PhoneNumbers/``, the list, and ``GET /PhoneNumbers``, what it can be asked.

What a query means is ``ledger.api.query``'s work, reading ``ledger.api.lists``'. The
list of a sender has the numbers that have said something to it, each with what decides
for it now. It is no answer to whom this sender may text: numbers that only spoke to
every sender are in the list of ``*``, and those that are out for another in none.
"""

from typing import Final

from aiohttp import hdrs, web

from ledger.api.addresses import is_unchanged, sender_in, single_parameters
from ledger.api.answers import of_model
from ledger.api.feed import Feed
from ledger.api.formats import CSV, EVENT_STREAM, JSON, negotiate, split_extension
from ledger.api.keys import READ, Keys
from ledger.api.lists import Asked, Lists, Page
from ledger.api.models import Attribute, Collection
from ledger.api.past_list import ALLOWED, PastLists, parse_past_query
from ledger.api.point_in_time import PARAMETERS
from ledger.api.query import LIMIT_DEFAULT, LIMIT_MAX

_RANGE: Final = ["eq", "gt", "ge", "lt", "le"]
# A test holds this equal to what the list accepts and refuses.
_DESCRIPTION: Final = Collection(
    name="PhoneNumbers",
    attributes=[
        Attribute(
            name="phoneNumber",
            type="string",
            is_primary_key=True,
            operators=[*_RANGE, "ne", "sw"],
            is_sortable=True,
        ),
        Attribute(
            name="status",
            type="string",
            is_primary_key=False,
            operators=["eq", "ne"],
            is_sortable=True,
        ),
        Attribute(
            name="sender",
            type="string",
            is_primary_key=False,
            operators=["eq"],
            is_sortable=False,
        ),
        Attribute(
            name="since",
            type="date",
            is_primary_key=False,
            operators=_RANGE,
            is_sortable=True,
        ),
        Attribute(
            name="position",
            type="integer",
            is_primary_key=False,
            operators=_RANGE,
            is_sortable=True,
        ),
        Attribute(
            name="version",
            type="integer",
            is_primary_key=False,
            operators=[],
            is_sortable=False,
        ),
    ],
    limit_default=LIMIT_DEFAULT,
    limit_max=LIMIT_MAX,
)


class PhoneNumberListApi:
    """Answers about all numbers."""

    def __init__(self, keys: Keys, lists: Lists, past: PastLists, feed: Feed) -> None:
        self._keys = keys
        self._past = past
        self._lists = lists
        self._feed = feed

    def routes(self) -> list[web.RouteDef]:
        """The collection, its list, and the list in a format of its own address."""
        return [
            web.get("/PhoneNumbers", self.describe),
            web.get("/PhoneNumbers/", self.get),
            web.get("/PhoneNumbers/.json", self.get),
            web.get("/PhoneNumbers/.csv", self.get),
        ]

    async def describe(self, request: web.Request) -> web.Response:
        """What the list has, and what it can be asked."""
        await self._keys.require(request, READ)
        return of_model(_DESCRIPTION)

    async def get(self, request: web.Request) -> web.StreamResponse:
        """A page of the list, or every change to come as events.

        A page is at most 1,000 records and so is answered whole, with a strong ETag.

        Raises:
            InvalidQuery: the list cannot be filtered, sorted or cut in this way.
            NotAcceptable: it cannot be had in what Accept names.
        """
        await self._keys.require(request, READ)
        _, content_type = split_extension(request.path)
        content_type = content_type or negotiate(
            request.headers.get(hdrs.ACCEPT), (JSON, CSV, EVENT_STREAM)
        )
        if content_type == EVENT_STREAM:
            return await self._feed.follow_all(request)
        asked = Asked(request.path, request.rel_url.raw_query_string, content_type)
        page = await self._page(request, asked)
        if is_unchanged(request, page.etag):
            kept = (hdrs.ETAG, hdrs.LINK, hdrs.VARY)
            headers = {n: page.headers[n] for n in kept if n in page.headers}
            return web.Response(status=304, headers=headers)
        return web.Response(body=page.body, headers=page.headers)

    async def _page(self, request: web.Request, asked: Asked) -> Page:
        """What is now, or what was."""
        if request.query.keys().isdisjoint(PARAMETERS):
            return await self._lists.page(asked)
        parameters = single_parameters(request, ALLOWED)
        sender = sender_in(parameters.get("sender"))
        return await self._past.page(asked, parse_past_query(parameters, sender))
