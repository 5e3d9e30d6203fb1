"""Asking our own webhook from outside in, as Twilio would, without recording anything.

The signed probe names the account and nothing else: no person and no message. The
webhook must check its signature first and then refuse it as a text that it cannot use
(422 ``unusable_text``), so that whatever else is recorded of texts, now or later, there
is nothing to record. A HELP would not do: it is a text of somebody's.
"""

import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

import aiohttp
import orjson
from twilio.request_validator import RequestValidator

from ledger.twilio.receivers import INBOUND_PATH
from ledger.twilio.transport import http_date


class Reply(NamedTuple):
    """What a probe was answered: a status and, if it is the ledger's, a code."""

    status: int
    code: str
    date: datetime | None


class Probe:
    """Probes of one public URL for one account."""

    def __init__(
        self, session: aiohttp.ClientSession, public_url: str, account_sid: str
    ) -> None:
        self._session = session
        self._url = f"{public_url}{INBOUND_PATH}"
        self._form = {"AccountSid": account_sid}

    async def unsigned(self) -> Reply:
        """A request that anybody could have sent.

        Raises:
            aiohttp.ClientError, TimeoutError: there is no answer.
        """
        return await self._post({})

    async def forged(self) -> Reply:
        """A request signed with a token that nobody has; raises as ``unsigned``."""
        return await self.signed(secrets.token_hex(16))

    async def signed(self, token: str) -> Reply:
        """A request signed with a token, as Twilio does; raises as ``unsigned``."""
        signature = RequestValidator(token).compute_signature(
            _without_credentials(self._url), self._form
        )
        return await self._post({"X-Twilio-Signature": signature})

    async def _post(self, headers: Mapping[str, str]) -> Reply:
        async with self._session.post(
            self._url, data=self._form, headers=headers, allow_redirects=False
        ) as response:
            body = await response.content.read(65_536)
            date = http_date(response.headers.get("Date", ""))
            return Reply(response.status, _code(body), date)


def _code(body: bytes) -> str:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ""
    return str(document.get("code", "")) if isinstance(document, dict) else ""


def _without_credentials(url: str) -> str:
    """Twilio drops ``user:password@`` before it signs."""
    scheme, mark, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{mark}{host.rpartition('@')[2]}{slash}{path}"
