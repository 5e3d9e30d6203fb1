"""Numbers that US carriers have deactivated, as Twilio lists them day by day.

Twilio answers with a link to a file elsewhere, good for about two minutes
(https://www.twilio.com/docs/messaging/api/deactivations-resource). The file is fetched
without credentials: they are for Twilio alone. Never guesses: a line that is no US
number is counted and left out. The subtle part is that a list counts whole or not at
all, so a file that is cut off is fetched anew, by a new link.
"""

import asyncio
import re
from datetime import date
from http import HTTPStatus
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import aiohttp

from ledger.domain.ids import PhoneNumber
from ledger.errors import TwilioNotFound, TwilioUnavailable, TwilioUnusableAnswer
from ledger.settings import Settings
from ledger.twilio.account import TwilioAccount, understood

FILE_BYTES_MAX: Final = 256 * 1024 * 1024
_LINKS_MAX: Final = 3
# With the plus, or without it, as E.164 has it, or as the US dials it.
_LINE: Final = re.compile(r"\+?1?([2-9][0-9]{9})", re.ASCII)


class Deactivated(NamedTuple):
    """The list of a day."""

    numbers: list[PhoneNumber]
    unreadable: int
    """Lines that are no number of the US."""


async def deactivated_on(
    account: TwilioAccount, settings: Settings, day: date
) -> Deactivated | None:
    """The numbers that were deactivated on a day; None where Twilio has no list.

    Raises:
        TwilioRefused, TwilioUnavailable: the list cannot be had.
    """
    for attempt in range(1, _LINKS_MAX + 1):
        try:
            asked = account.client.messaging.v1.deactivations().fetch_async(date=day)
            link = str((await understood(asked)).redirect_to)
        except TwilioNotFound:
            return None
        try:
            return _parsed(await _downloaded(link, settings))
        except TwilioUnavailable:
            if attempt == _LINKS_MAX:
                raise
    raise AssertionError


def _parsed(text: str) -> Deactivated:
    numbers: list[PhoneNumber] = []
    unreadable = 0
    for line in text.splitlines():
        if matched := _LINE.fullmatch(line.strip().strip('"')):
            numbers.append(PhoneNumber(f"+1{matched[1]}"))
        elif line.strip():
            unreadable += 1
    return Deactivated(numbers, unreadable)


async def _downloaded(link: str, settings: Settings) -> str:
    is_safe = urlsplit(link).scheme == "https"
    if not (is_safe or (settings.twilio_api_url and link.startswith("http://"))):
        raise TwilioUnusableAnswer("the list of deactivations is not behind https")
    # A list is long: what must not take long is that nothing comes.
    seconds = settings.twilio_timeout_seconds
    timeout = aiohttp.ClientTimeout(sock_connect=seconds, sock_read=seconds)
    try:
        async with (
            aiohttp.ClientSession(
                timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()
            ) as session,
            session.get(link) as response,
        ):
            if response.status != HTTPStatus.OK:
                raise TwilioUnavailable(
                    f"the list of deactivations was answered {response.status}"
                )
            return await _read(response)
    # The link says who may read the file, so that no error may quote it.
    except (TimeoutError, asyncio.IncompleteReadError, aiohttp.ClientError) as error:
        raise TwilioUnavailable(
            f"the list of deactivations was cut off: {type(error).__name__}"
        ) from None


async def _read(response: aiohttp.ClientResponse) -> str:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > FILE_BYTES_MAX:
            raise TwilioUnusableAnswer("the list of deactivations has no end")
    return body.decode("utf-8", "replace")
