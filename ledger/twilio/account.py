"""One account at Twilio: who it is, and what receives texts for it.

Resources, paths and fields are the twilio package's. Never shows what the package says
in its errors, which may quote a phone number. The subtle part is documents that the
package does not understand: it fails in its own ways, and all of them become one error.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from twilio.base.exceptions import TwilioException
from twilio.rest import Client

from ledger.errors import ConfigurationError, InvalidRequest, TwilioUnusableAnswer
from ledger.settings import Settings
from ledger.twilio.receivers import FIELDS, Kind, Receiver, Value
from ledger.twilio.transport import Pause, Transport, http_date

PAGE_SIZE: Final = 100

# Not empty, or the package reads TWILIO_REGION and TWILIO_EDGE of the process, which
# change the host behind our back.
_NO_ENVIRONMENT: Final = {"TWILIO_EDGE": "", "TWILIO_REGION": ""}
_PREFIXES: Final[dict[Kind, str]] = {
    "number": "PN",
    "short code": "SC",
    "service": "MG",
}


class Standing(NamedTuple):
    """What an account says of itself, and when Twilio's clock says that it does."""

    status: str
    kind: str
    date: datetime | None


@dataclass(frozen=True, slots=True)
class TwilioAccount:
    """One account; ``client`` is the twilio package's, with our transport under it."""

    sid: str
    client: Any

    async def standing(self) -> Standing:
        """Whether the account is active, as Twilio says.

        Raises:
            TwilioRefused, TwilioUnavailable: it does not say.
        """
        asked = self.client.api.v2010.accounts(self.sid).fetch_with_http_info_async()
        answer = await understood(asked)
        return Standing(
            status=str(answer.data.status),
            kind=str(answer.data.type),
            date=http_date(answer.headers.get("Date", "")),
        )

    async def receiver(self, kind: Kind, sid: str) -> Receiver:
        """A number, a short code or a service, by its SID.

        Raises:
            InvalidRequest: it is not the SID of such a thing.
            TwilioRefused, TwilioUnavailable: Twilio does not show it.
        """
        found = await understood(self._context(kind, sid).fetch_async())
        return _receiver(kind, found)

    async def update(self, receiver: Receiver, changes: Mapping[str, Any]) -> Receiver:
        """Set fields of a receiver; what Twilio then shows.

        Raises:
            TwilioRefused, TwilioUnavailable: it did not; an error with ``may_be_done``
                leaves open whether it did.
        """
        context = self._context(receiver.kind, receiver.sid)
        return _receiver(
            receiver.kind, await understood(context.update_async(**changes))
        )

    async def receivers(self) -> list[Receiver]:
        """Everything of the account that receives texts; services first."""
        found = await asyncio.gather(
            self._all("service", self.client.messaging.v1.services.page_async),
            self._all("number", self.client.incoming_phone_numbers.page_async),
            self._all("short code", self.client.short_codes.page_async),
        )
        return [receiver for each in found for receiver in each]

    async def services(self) -> list[Receiver]:
        """Every Messaging Service of the account."""
        return await self._all("service", self.client.messaging.v1.services.page_async)

    async def pool(self, service_sid: str) -> set[str]:
        """The SIDs of the numbers and short codes that are in a service."""
        service = self.client.messaging.v1.services(service_sid)
        pages = (service.phone_numbers.page_async, service.short_codes.page_async)
        return {str(r.sid) for page in pages async for r in records(page)}

    async def _all(self, kind: Kind, page: Callable[..., Any]) -> list[Receiver]:
        return [_receiver(kind, record) async for record in records(page)]

    def _context(self, kind: Kind, sid: str) -> Any:  # noqa: ANN401
        check_sid(_PREFIXES[kind], sid)
        match kind:
            case "number":
                return self.client.incoming_phone_numbers(sid)
            case "short code":
                return self.client.short_codes(sid)
            case "service":
                return self.client.messaging.v1.services(sid)


@asynccontextmanager
async def open_account(
    settings: Settings,
    sid: str | None = None,
    *,
    tokens: list[str] | None = None,
    call_seconds_max: float | None = None,
    pause: Pause = asyncio.sleep,
) -> AsyncIterator[TwilioAccount]:
    """An account of ours, TWILIO_ACCOUNT_SID unless another is named.

    ``tokens`` instead of all that are set; ``call_seconds_max`` bounds the attempts of
    a call; ``pause`` waits between two of them.

    Raises:
        ConfigurationError: no auth token of it is set.
    """
    account_sid = sid or main_account(settings)
    check_sid("AC", account_sid)
    given = tokens or settings.twilio_tokens().get(account_sid)
    if not given:
        raise ConfigurationError(
            f"no auth token of {account_sid} is set: TWILIO_AUTH_TOKEN is that of "
            "TWILIO_ACCOUNT_SID, others belong into LEDGER_TWILIO_SUBACCOUNTS"
        )
    async with Transport(
        account_sid=account_sid,
        tokens=given,
        api_url=settings.twilio_api_url,
        timeout_seconds=settings.twilio_timeout_seconds,
        call_seconds_max=call_seconds_max,
        pause=pause,
    ) as transport:
        client = Client(
            account_sid, given[0], http_client=transport, environment=_NO_ENVIRONMENT
        )
        yield TwilioAccount(account_sid, client)


def main_account(settings: Settings) -> str:
    """The SID of the account that is meant where none is named.

    Raises:
        ConfigurationError: none is set; the embedded default's is made up.
    """
    if settings.twilio_account_sid is None:
        raise ConfigurationError(
            "TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN must be set: a made-up account "
            "is none that Twilio knows"
        )
    return settings.twilio_account_sid


async def records(
    page_async: Callable[..., Any], page_size: int = PAGE_SIZE
) -> AsyncIterator[Any]:
    """Every record of a list, page by page; ``page_async`` is a list's method.

    Raises:
        TwilioRefused, TwilioUnavailable: a page cannot be had.
        TwilioUnusableAnswer: a page cannot be read, or leads back to an earlier one.
    """
    page = await understood(page_async(page_size=page_size))
    seen: set[str] = set()
    while page is not None:
        # A page is an iterator, and its records are made while it is walked.
        with translated():
            found = list(page)
            following = page.next_page_url
        for record in found:
            yield record
        if following in seen:
            raise TwilioUnusableAnswer("a page leads back to an earlier one")
        if following:
            seen.add(following)
        page = await understood(page.next_page_async())


def check_sid(prefix: str, sid: str) -> None:
    """Accept a SID, which becomes part of a path, or raise.

    Raises:
        InvalidRequest: it is none of that kind.
    """
    if not re.fullmatch(rf"{prefix}[0-9a-fA-F]{{32}}", sid, re.ASCII):
        raise InvalidRequest(f"a SID here is {prefix} and 32 hexadecimal digits")


def _receiver(kind: Kind, found: Any) -> Receiver:  # noqa: ANN401
    with translated():
        capabilities = getattr(found, "capabilities", None)
        name = {"number": "phone_number", "short code": "short_code"}.get(kind)
        return Receiver(
            kind=kind,
            sid=str(found.sid),
            name=str(getattr(found, name or "friendly_name")),
            fields={f: _given(getattr(found, f)) for f in FIELDS[kind]},
            receives=not isinstance(capabilities, dict)
            or bool(capabilities.get("sms", True)),
        )


def _given(value: Any) -> Value:  # noqa: ANN401
    return value if isinstance(value, bool) else str(value or "")


async def understood(asked: Awaitable[Any]) -> Any:  # noqa: ANN401 - the package's
    """What a call of the package returns.

    Raises:
        TwilioRefused, TwilioUnavailable: what the transport says.
        TwilioUnusableAnswer: the package does not understand the document.
    """
    with translated():
        return await asked


@contextmanager
def translated() -> Iterator[None]:
    """The package's ways to fail at a document, as our one."""
    try:
        yield
    except (TwilioException, LookupError, TypeError, AttributeError, ValueError):
        # Not as its cause: its words may quote the document.
        raise TwilioUnusableAnswer(
            "a document of Twilio's has not the form that is documented",
            may_be_done=True,
        ) from None
