"""Messages, as the stand-in has them: sent, scheduled, canceled, listed, refused.

A number in ``list_of("blocked")``, as ``to>sender``, is one whose STOP Twilio holds.
Nothing is sent anywhere: what was taken stays ``queued`` until a test says otherwise.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

from aiohttp import web
from twilio_api.documents import FIELDS, Account, Document, account_of, found, old_page
from twilio_api.documents import error as error_document
from twilio_api.receivers import new_sid

_NUMBER = re.compile(r"(whatsapp:|rcs:)?\+[1-9][0-9]{6,14}")


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
    to = request.query.get("To")
    newest_first = reversed(sent(account_of(request)))
    shown = [m for m in newest_first if to is None or m["to"] == to]
    return web.json_response(old_page(request, "messages", shown))


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
