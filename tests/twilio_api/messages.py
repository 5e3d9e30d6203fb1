"""Messages, as the stand-in has them: sent, scheduled, canceled, listed, refused.

The log is newest first. A page's successor is named by the last message of the page
(``PageToken``), as at Twilio, so that a text that arrives meanwhile moves nothing.
A number in ``list_of("blocked")``, as ``to>sender``, is one whose STOP Twilio holds.
Nothing is sent anywhere: what was taken stays ``queued`` until a test says otherwise.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urlencode

from aiohttp import web
from twilio_api.documents import (
    FIELDS,
    PAGE_SIZE,
    PAGE_SIZE_MAX,
    Account,
    Document,
    account_of,
    found,
)
from twilio_api.documents import error as error_document
from twilio_api.receivers import new_sid

_NUMBER = re.compile(r"(whatsapp:|rcs:)?\+[1-9][0-9]{6,14}")
_DAY_CHARACTERS: Final = 10


def routes() -> Iterable[web.RouteDef]:
    """The paths of the API of 2010."""
    top = "/2010-04-01/Accounts/{account}/Messages"
    return [
        web.post(f"{top}.json", _create),
        web.get(f"{top}.json", _list),
        web.get(f"{top}/{{sid}}.json", _fetch),
        web.post(f"{top}/{{sid}}.json", _update),
    ]


def add_message(account: Account, **more: Any) -> Document:
    """Have the account a message; the document, which may be changed."""
    now = format_datetime(datetime.now(UTC))
    document: Document = {
        "sid": new_sid("SM"),
        "account_sid": account.sid,
        "status": "queued",
        "direction": "outbound-api",
        "to": "+14155550100",
        "from": "+14155550199",
        "messaging_service_sid": None,
        "body": "",
        "num_segments": "1",
        "num_media": "0",
        "error_code": None,
        "error_message": None,
        "date_created": now,
        "date_updated": now,
        "date_sent": None,
        "api_version": "2010-04-01",
        "price": None,
        "price_unit": "USD",
        "uri": "",
        "subresource_uris": {},
        **more,
    }
    account.list_of("messages")[document["sid"]] = document
    return document


def add_text(account: Account, body: str, at: datetime, **more: Any) -> str:
    """Have the account an inbound text of then; its SID. Times have whole seconds."""
    moment = format_datetime(at.astimezone(UTC).replace(microsecond=0))
    document = {
        "direction": "inbound",
        "status": "received",
        "from": "+14155550100",
        "to": "+14155550199",
        "body": body,
        "date_created": moment,
        "date_updated": moment,
        "date_sent": moment,
    }
    return str(add_message(account, **(document | more))["sid"])


def block(account: Account, to: str, sender: str) -> None:
    """Let Twilio hold a STOP of a number to a sender."""
    account.list_of("blocked")[f"{to}>{sender}"] = {}


def sent(account: Account) -> list[Document]:
    """Every message that it has taken, in their order."""
    return [*account.list_of("messages").values()]


async def _create(request: web.Request) -> web.Response:
    account, given = account_of(request), request[FIELDS]
    sender = given.get("MessagingServiceSid") or given.get("From", "")
    if code := _fault(account, given, sender):
        return error_document(400, code, f"no message to {given.get('To')}")
    is_service = sender.startswith("MG")
    status = "accepted" if is_service else "queued"
    document = add_message(
        account,
        to=given["To"],
        body=given.get("Body", ""),
        status="scheduled" if "SendAt" in given and is_service else status,
        messaging_service_sid=sender if is_service else None,
    )
    document["from"] = None if is_service else sender
    return web.json_response(document, status=201)


def _fault(account: Account, given: dict[str, str], sender: str) -> int | None:
    """Twilio's code of what is wrong with a message; None where nothing is."""
    to = given.get("To", "")
    if not sender:
        return 21603
    if not _NUMBER.fullmatch(to):
        return 21211
    if not given.get("Body") and not given.get("ContentSid"):
        return 21602
    return 21610 if f"{to}>{sender}" in account.list_of("blocked") else None


async def _list(request: web.Request) -> web.Response:
    oldest_first = sorted(sent(account_of(request)), key=_moment_of)
    wanted = [one for one in oldest_first[::-1] if _is_wanted(one, request.query)]
    return web.json_response(_page(request, wanted))


def _is_wanted(document: Document, query: Mapping[str, str]) -> bool:
    at = _moment_of(document)
    return (
        query.get("To", document["to"]) == document["to"]
        and query.get("From", document["from"]) == document["from"]
        and ("DateSent" not in query or _is_at(at, query["DateSent"]))
        and ("DateSent>" not in query or at >= _moment(query["DateSent>"]))
        and ("DateSent<" not in query or at <= _moment(query["DateSent<"]))
    )


def _moment_of(document: Document) -> datetime:
    return parsedate_to_datetime(document["date_sent"] or document["date_created"])


def _moment(given: str) -> datetime:
    return datetime.fromisoformat(given).replace(tzinfo=UTC)


def _is_at(at: datetime, given: str) -> bool:
    if len(given) == _DAY_CHARACTERS:
        return at.date() == _moment(given).date()
    return at == _moment(given)


def _page(request: web.Request, documents: list[Document]) -> Document:
    size = min(int(request.query.get("PageSize", PAGE_SIZE)), PAGE_SIZE_MAX)
    page = int(request.query.get("Page", "0"))
    token = request.query.get("PageToken", "").removeprefix("PA")
    sids = [document["sid"] for document in documents]
    start = sids.index(token) + 1 if token else 0
    shown = documents[start : start + size]
    following = None
    if start + size < len(documents):
        after = {"Page": str(page + 1), "PageSize": str(size)}
        after["PageToken"] = f"PA{shown[-1]['sid']}"
        following = f"{request.path}?{urlencode(dict(request.query) | after)}"
    return {
        "messages": shown,
        "page": page,
        "page_size": size,
        "uri": request.path_qs,
        "first_page_uri": f"{request.path}?Page=0&PageSize={size}",
        "next_page_uri": following,
        "previous_page_uri": None,
        "start": start,
        "end": start + len(shown),
    }


async def _fetch(request: web.Request) -> web.Response:
    return web.json_response(_found(request))


async def _update(request: web.Request) -> web.Response:
    document = _found(request)
    if request[FIELDS].get("Status") == "canceled":
        if document["status"] != "scheduled":
            return error_document(400, 30409)
        document["status"] = "canceled"
    return web.json_response(document)


def _found(request: web.Request) -> Document:
    messages = account_of(request).list_of("messages")
    return found(messages, request.match_info["sid"])
