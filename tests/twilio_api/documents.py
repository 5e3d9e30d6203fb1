"""What the stand-in keeps and shows: accounts, pages and error documents."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode

from aiohttp import web

PAGE_SIZE: Final = 50
PAGE_SIZE_MAX: Final = 1000

Document = dict[str, Any]


@dataclass
class Account:
    """An account, and what it has, by the list's name and the SID."""

    sid: str
    tokens: list[str]
    status: str = "active"
    lists: dict[str, dict[str, Document]] = field(default_factory=dict)

    def list_of(self, name: str) -> dict[str, Document]:
        """One of its lists, to read or to add to."""
        return self.lists.setdefault(name, {})


ACCOUNT: Final = web.RequestKey("account", Account)
"""The account that asks."""
FIELDS: Final = web.RequestKey("fields", dict[str, str])
"""The form that was posted, the first value of each field."""


def account_of(request: web.Request) -> Account:
    """The account that a request is about, which is the one that asks.

    Raises:
        web.HTTPException: it is another's.
    """
    asking = request[ACCOUNT]
    if request.match_info.get("account", asking.sid) != asking.sid:
        raise refusal(404, 20404)
    return asking


def error(status: int, code: int, message: str = "no", **headers: str) -> web.Response:
    """An error document, as https://www.twilio.com/docs/usage/twilios-response."""
    document = {
        "code": code,
        "message": message,
        "more_info": f"https://www.twilio.com/docs/errors/{code}",
        "status": status,
    }
    body = json.dumps(document)
    return web.Response(
        status=status, text=body, content_type="application/json", headers=headers
    )


def refusal(status: int, code: int) -> web.HTTPException:
    """An error document to raise."""
    of_status = {400: web.HTTPBadRequest, 404: web.HTTPNotFound}
    answer = error(status, code)
    return of_status[status](text=answer.text, content_type="application/json")


def found(documents: Mapping[str, Document], sid: str) -> Document:
    """One of a list.

    Raises:
        web.HTTPException: there is none.
    """
    if sid not in documents:
        raise refusal(404, 20404)
    return documents[sid]


def old_page(request: web.Request, name: str, documents: list[Document]) -> Document:
    """A page as the API of 2010 has it: ``next_page_uri`` is a path."""
    page, shown, following = _page(request, documents)
    return {
        name: shown,
        "page": page,
        "page_size": len(shown),
        "uri": request.path_qs,
        "first_page_uri": f"{request.path}?Page=0",
        "next_page_uri": f"{request.path}?{following}" if following else None,
        "previous_page_uri": None,
        "start": 0,
        "end": len(shown),
    }


def new_page(
    request: web.Request, name: str, documents: list[Document], host: str
) -> Document:
    """A page as later APIs have it: ``next_page_url`` names Twilio's own host."""
    page, shown, following = _page(request, documents)
    url = f"https://{host}{request.path}"
    return {
        name: shown,
        "meta": {
            "key": name,
            "page": page,
            "page_size": len(shown),
            "url": url,
            "first_page_url": f"{url}?Page=0",
            "next_page_url": f"{url}?{following}" if following else None,
            "previous_page_url": None,
        },
    }


def _page(
    request: web.Request, documents: list[Document]
) -> tuple[int, list[Document], str]:
    page = int(request.query.get("Page", "0"))
    size = min(int(request.query.get("PageSize", PAGE_SIZE)), PAGE_SIZE_MAX)
    shown = documents[page * size : (page + 1) * size]
    query = dict(request.query) | {"Page": str(page + 1), "PageSize": str(size)}
    has_more = len(documents) > (page + 1) * size
    return page, shown, urlencode(query) if has_more else ""
