"""``consent-ledger simulate``: a text as Twilio would post it, signed, to try things.

Uses twilio's own validator to sign, and nothing that a real caller does not have.
"""

import secrets
from http import HTTPStatus
from typing import Final

import aiohttp
from twilio.request_validator import RequestValidator
from yarl import URL

from ledger.errors import ConfigurationError, TryAgain
from ledger.settings import Settings

_PATH: Final = "/optInStatus"
_TIMEOUT: Final = aiohttp.ClientTimeout(total=15)


async def simulate_text(  # noqa: PLR0913 - the options of the command
    settings: Settings,
    *,
    number: str,
    text: str,
    to: str,
    service: str | None,
    opt_out_type: str | None,
) -> tuple[bool, str]:
    """Post a signed text and read the number's record; both answers, as lines.

    And whether the text was accepted.

    Raises:
        ConfigurationError: no account or admin key is known to sign and ask with.
        TryAgain: the service cannot be reached.
    """
    form = _form(settings, number=number, text=text, to=to)
    form |= {"MessagingServiceSid": service} if service else {}
    form |= {"OptOutType": opt_out_type} if opt_out_type else {}
    base = f"http://{settings.host}:{settings.port}"
    try:
        async with aiohttp.ClientSession(base, timeout=_TIMEOUT) as session:
            status, answered = await _post(session, settings, form)
            asked = await _ask(session, settings, number)
            return status == HTTPStatus.OK, f"{status} {answered}\n{asked}"
    except (aiohttp.ClientError, TimeoutError) as error:
        raise TryAgain(
            f"nothing answers at {base}: start it with `consent-ledger serve`"
        ) from error


def _form(settings: Settings, *, number: str, text: str, to: str) -> dict[str, str]:
    message_sid = f"SM{secrets.token_hex(16)}"
    return {
        "AccountSid": settings.twilio_account_sid or "",
        "ApiVersion": "2010-04-01",
        "Body": text,
        "From": number,
        "FromCity": "",
        "MessageSid": message_sid,
        "NumMedia": "0",
        "NumSegments": "1",
        "SmsMessageSid": message_sid,
        "SmsSid": message_sid,
        "SmsStatus": "received",
        "To": to,
    }


async def _post(
    session: aiohttp.ClientSession, settings: Settings, form: dict[str, str]
) -> tuple[int, str]:
    token, *_ = settings.twilio_tokens()[form["AccountSid"]]
    signature = RequestValidator(token).compute_signature(
        settings.signed_url + _PATH, form
    )
    headers = {"X-Twilio-Signature": signature}
    async with session.post(_PATH, data=form, headers=headers) as response:
        return response.status, await response.text()


async def _ask(session: aiohttp.ClientSession, settings: Settings, number: str) -> str:
    if settings.admin_key is None:
        raise ConfigurationError("LEDGER_ADMIN_KEY is needed to ask the API")
    headers = {"Authorization": f"Bearer {settings.admin_key.get_secret_value()}"}
    async with session.get("/readyz") as response:
        position = (await response.json())["position"]
    # What was just acknowledged is durable, and visible once the table is there. A
    # service that can answer nothing says no position, and then why.
    path = f"/PhoneNumbers/{number.replace('+', '%2B')}"
    path += "" if position is None else f"?minPosition={position}"
    async with session.get(URL(path, encoded=True), headers=headers) as response:
        return f"{response.status} {await response.text()}"
