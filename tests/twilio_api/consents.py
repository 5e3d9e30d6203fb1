"""The Consent API, as the stand-in has it: write-only, 25 items a call.

What was told is in ``list_of("consents")``, by ``contact>sender``; an opt-out blocks
the pair and an opt-in lifts that, but for toll-free numbers. ``list_of("unwanted")``
names contacts that are refused by an error of their own, in a call that succeeds.
"""

import json
import re
from collections.abc import Iterable
from typing import Any, Final

from aiohttp import web
from twilio_api.documents import Account, Document, account_of, error

ITEMS_MAX: Final = 25
INVALID: Final = 30646
_FORMS: Final = {
    "contact_id": re.compile(r"\+[1-9][0-9]{6,14}"),
    "correlation_id": re.compile(r"[0-9a-f]{32}"),
    "status": re.compile("opt-(in|out)"),
    "source": re.compile("website|offline|opt-(in|out)-message|others"),
    "date_of_consent": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"),
}


def told(account: Account, contact: str, sender: str) -> str | None:
    """What Twilio was told last of a contact and a sender."""
    found = account.list_of("consents").get(f"{contact}>{sender}")
    return str(found["status"]) if found else None


def routes() -> Iterable[web.RouteDef]:
    """The one path of accounts.twilio.com that is used."""
    return [web.post("/v1/Consents/Bulk", _bulk)]


async def _bulk(request: web.Request) -> web.Response:
    account = account_of(request)
    items = [json.loads(str(one)) for one in (await request.post()).getall("Items")]
    if len(items) > ITEMS_MAX:
        return error(400, 20001)
    return web.json_response(
        {"items": [_taken(account, one) for one in items]}, status=201
    )


def _taken(account: Account, item: dict[str, Any]) -> Document:
    given = {name: str(value) for name, value in item.items()}
    faults = [n for n, form in _FORMS.items() if not form.fullmatch(given.get(n, ""))]
    if given.get("sender_id") not in _senders(account):
        faults.append("sender_id")
    if given.get("contact_id") in account.list_of("unwanted"):
        faults.append("contact_id")
    if not faults:
        _take(account, item)
    return {
        "correlation_id": given.get("correlation_id"),
        "error_code": INVALID if faults else 0,
        "error_messages": [f"invalid {name}" for name in faults],
    }


def _take(account: Account, item: dict[str, Any]) -> None:
    pair = f"{item['contact_id']}>{item['sender_id']}"
    account.list_of("consents")[pair] = item
    if item["status"] == "opt-out":
        account.list_of("blocked")[pair] = {}
    elif not item["sender_id"].startswith("+18"):
        account.list_of("blocked").pop(pair, None)


def _senders(account: Account) -> set[str]:
    numbers = account.list_of("incoming_phone_numbers").values()
    codes = account.list_of("short_codes").values()
    return {
        *account.list_of("services"),
        *(str(one["phone_number"]) for one in numbers),
        *(str(one["short_code"]) for one in codes),
    }
