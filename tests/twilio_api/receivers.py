"""Numbers, short codes and Messaging Services, as the stand-in has them."""

import itertools
from collections.abc import Iterable
from typing import Any, Final

from aiohttp import web
from twilio_api.documents import (
    FIELDS,
    Account,
    Document,
    account_of,
    found,
    new_page,
    old_page,
)

_HOST: Final = "messaging.twilio.com"
_SERVICE_FIELDS: Final = {
    "InboundRequestUrl": "inbound_request_url",
    "InboundMethod": "inbound_method",
    "FallbackUrl": "fallback_url",
    "FallbackMethod": "fallback_method",
    "StatusCallback": "status_callback",
}
_NUMBER_FIELDS: Final = {
    "SmsUrl": "sms_url",
    "SmsMethod": "sms_method",
    "SmsFallbackUrl": "sms_fallback_url",
    "SmsFallbackMethod": "sms_fallback_method",
    "SmsApplicationSid": "sms_application_sid",
}
_sids = itertools.count(1)


def new_sid(prefix: str) -> str:
    """A SID that was not there before."""
    return f"{prefix}{next(_sids):032x}"


def add_number(account: Account, phone_number: str, **more: Any) -> str:
    """Give an account a number; its SID."""
    document = {
        "sid": new_sid("PN"),
        "account_sid": account.sid,
        "phone_number": phone_number,
        "friendly_name": phone_number,
        "capabilities": {"voice": True, "sms": True, "mms": True, "fax": False},
        **dict.fromkeys(_NUMBER_FIELDS.values(), ""),
        "sms_method": "POST",
        "sms_fallback_method": "POST",
        "status_callback": "",
    }
    return _added(account, "incoming_phone_numbers", document | more)


def add_short_code(account: Account, short_code: str, **more: Any) -> str:
    """Give an account a short code; its SID."""
    document = {
        "sid": new_sid("SC"),
        "account_sid": account.sid,
        "short_code": short_code,
        "friendly_name": short_code,
        "sms_url": "",
        "sms_method": "POST",
        "sms_fallback_url": None,
        "sms_fallback_method": "POST",
    }
    return _added(account, "short_codes", document | more)


def add_service(account: Account, *pool: str, **more: Any) -> str:
    """Give an account a Messaging Service with numbers in it, by SID; its SID."""
    document = {
        "sid": new_sid("MG"),
        "account_sid": account.sid,
        "friendly_name": "Orders",
        **dict.fromkeys(_SERVICE_FIELDS.values()),
        "inbound_method": "POST",
        "fallback_method": "POST",
        "use_inbound_webhook_on_number": False,
        "date_created": "2026-01-01T00:00:00Z",
    }
    sid = _added(account, "services", document | more)
    account.list_of("pools")[sid] = dict.fromkeys(pool)
    return sid


def routes() -> Iterable[web.RouteDef]:
    """The paths of the API of 2010, and those of messaging.twilio.com."""
    old, new = "/2010-04-01/Accounts/{account}", "/v1/Services"
    return [
        web.get(f"{old}/IncomingPhoneNumbers.json", _numbers),
        web.get(f"{old}/IncomingPhoneNumbers/{{sid}}.json", _number),
        web.post(f"{old}/IncomingPhoneNumbers/{{sid}}.json", _number),
        web.get(f"{old}/SMS/ShortCodes.json", _short_codes),
        web.get(new, _services),
        web.get(f"{new}/{{sid}}", _service),
        web.post(f"{new}/{{sid}}", _service),
        web.get(f"{new}/{{sid}}/PhoneNumbers", _pool_of_numbers),
        web.get(f"{new}/{{sid}}/ShortCodes", _pool_of_short_codes),
    ]


async def _numbers(request: web.Request) -> web.Response:
    return _old_list(request, "incoming_phone_numbers")


async def _short_codes(request: web.Request) -> web.Response:
    return _old_list(request, "short_codes")


async def _number(request: web.Request) -> web.Response:
    document = _found(request, "incoming_phone_numbers")
    _set(document, request, _NUMBER_FIELDS)
    return web.json_response(document)


async def _services(request: web.Request) -> web.Response:
    documents = [*_list(request, "services").values()]
    return _new_list(request, "services", documents)


async def _service(request: web.Request) -> web.Response:
    document = _found(request, "services")
    _set(document, request, _SERVICE_FIELDS)
    if given := request[FIELDS].get("UseInboundWebhookOnNumber"):
        document["use_inbound_webhook_on_number"] = given == "true"
    return web.json_response(document)


async def _pool_of_numbers(request: web.Request) -> web.Response:
    return _pool(request, "phone_numbers", "PN")


async def _pool_of_short_codes(request: web.Request) -> web.Response:
    return _pool(request, "short_codes", "SC")


def _pool(request: web.Request, name: str, prefix: str) -> web.Response:
    pool: dict[str, Any] = _found(request, "pools")
    documents = [{"sid": sid} for sid in pool if sid.startswith(prefix)]
    return _new_list(request, name, documents)


def _old_list(request: web.Request, name: str) -> web.Response:
    documents = [*_list(request, name).values()]
    return web.json_response(old_page(request, name, documents))


def _new_list(
    request: web.Request, name: str, documents: list[Document]
) -> web.Response:
    return web.json_response(new_page(request, name, documents, _HOST))


def _list(request: web.Request, name: str) -> dict[str, Document]:
    return account_of(request).list_of(name)


def _found(request: web.Request, name: str) -> Document:
    return found(_list(request, name), request.match_info["sid"])


def _added(account: Account, name: str, document: Document) -> str:
    sid = str(document["sid"])
    account.list_of(name)[sid] = document
    return sid


def _set(document: Document, request: web.Request, names: dict[str, str]) -> None:
    for given, value in request[FIELDS].items():
        if given in names:
            document[names[given]] = value or None
