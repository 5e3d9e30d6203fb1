"""How the twilio package reaches Twilio's REST API: one HTTP client, ours.

It bounds time, repeats what may be repeated, and says in our errors what went wrong.
Never logs, and no error holds a secret, a phone number or Twilio's own words, which may
quote one. The package's own client is not used: it ignores its timeout, repeats a POST
after a 5xx, which sends a text twice, and logs URLs with phone numbers in them. Its
extension point for clients is, so that paths, fields and documents stay the package's.

The subtle part is what may be repeated: whatever Twilio cannot have carried out. A GET
changes nothing; a call that found no connection was never sent; a call that is answered
429 was not processed (https://www.twilio.com/docs/api/errors/20429). Anything else that
fails is left to the caller, who is told that it may have been done.
"""

import asyncio
import base64
import math
import random
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Final, NamedTuple, Self
from urllib.parse import urlencode, urlsplit

import aiohttp
import orjson
from twilio.http import AsyncHttpClient
from twilio.http.response import Response
from yarl import URL

from ledger.errors import (
    TwilioBusy,
    TwilioForbidden,
    TwilioNotFound,
    TwilioRefused,
    TwilioTimeout,
    TwilioUnauthenticated,
    TwilioUnavailable,
    TwilioUnusableAnswer,
)

ATTEMPTS_MAX: Final = 4
PAUSE_SECONDS_MAX: Final = 20.0
"""The longest that we wait between two attempts; whoever asks for more is given up."""
ANSWER_BYTES_MAX: Final = 32 * 1024 * 1024
CALLS_MAX: Final = 8
"""How many calls of one account are under way at once; Twilio limits that too."""

_PAUSE_SECONDS: Final = 0.5
_CHANGES_NOTHING: Final = frozenset({"GET", "HEAD"})
_WRONG_CREDENTIALS: Final = 20003
_OF_STATUS: Final[dict[int, type[TwilioRefused]]] = {
    HTTPStatus.UNAUTHORIZED: TwilioUnauthenticated,
    HTTPStatus.FORBIDDEN: TwilioForbidden,
    HTTPStatus.NOT_FOUND: TwilioNotFound,
}
# A name, a version or a SID; anything else in a path may be a phone number.
_NAMEABLE: Final = re.compile(r"[A-Za-z][A-Za-z0-9]*(\.json)?|2010-04-01", re.ASCII)

Pause = Callable[[float], Awaitable[None]]


class _Call(NamedTuple):
    """One request as it goes out, but for the credentials."""

    method: str
    url: URL
    headers: Mapping[str, str]
    body: bytes | None

    @property
    def named(self) -> str:
        """What an error may say of it: no query, and nothing that could be a number."""
        parts = self.url.raw_path.split("/")
        shown = (p if not p or _NAMEABLE.fullmatch(p) else "…" for p in parts)
        return f"{self.method} {'/'.join(shown)}"

    @property
    def is_change(self) -> bool:
        return self.method not in _CHANGES_NOTHING


class _Answer(NamedTuple):
    status: int
    text: str
    headers: Mapping[str, str]


class Transport(AsyncHttpClient):  # type: ignore[misc] # the package has no types
    """One account's way to Twilio, open while its block runs.

    ``tokens`` are tried in their order until one is not refused, so that calls go on
    while the auth token is being rotated. ``api_url`` stands for every host of Twilio's
    where it is given. ``timeout_seconds`` bounds one attempt; no attempt is waited for
    that would begin more than ``call_seconds_max`` after the first.
    """

    def __init__(  # noqa: PLR0913 - the last two are for tests
        self,
        *,
        account_sid: str,
        tokens: Sequence[str],
        api_url: str | None,
        timeout_seconds: float,
        call_seconds_max: float | None = None,
        pause: Pause = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.is_async = True  # what the package looks at
        self._account_sid = account_sid
        self._tokens = tuple(tokens)
        self._api_url = api_url.rstrip("/") if api_url else None
        self._timeout_seconds = timeout_seconds
        self._call_seconds_max = call_seconds_max or math.inf
        self._pause = pause
        self._jitter = jitter
        self._calls = asyncio.Semaphore(CALLS_MAX)
        self._session: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        """Open it; within a running loop, as aiohttp wants."""
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=self._timeout_seconds),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close every connection."""
        await self._session.close()

    async def request(  # noqa: PLR0913, PLR0917 - the package's signature
        self,
        method: str,
        url: str,
        params: Mapping[str, object] | None = None,
        data: Any = None,  # noqa: ANN401 - a form, or anything that is JSON
        headers: Mapping[str, str] | None = None,
        auth: object = None,  # noqa: ARG002 - ours are tried in turn
        timeout: float | None = None,  # noqa: ARG002, ASYNC109 - it is the session's
        allow_redirects: bool = False,  # noqa: ARG002, FBT001, FBT002 - never
    ) -> Any:  # noqa: ANN401 - the package has no types
        """Make a call for the package; the answer is a success and a JSON object.

        Raises:
            TwilioRefused: Twilio understood and said no.
            TwilioUnavailable: it cannot be had, is slow, busy or not understood.
        """
        given = dict(headers or {})
        query = _form(params)
        where = self._redirected(url)
        call = _Call(
            method=method.upper(),
            url=URL(f"{where}?{query}" if query else where, encoded=True),
            headers=given,
            body=_body(data, given) if data else None,
        )
        answer = await self._insist(call)
        return Response(answer.status, answer.text, answer.headers)

    async def _insist(self, call: _Call) -> _Answer:
        """Repeat what cannot have been done, a few times, ever more slowly."""
        now = asyncio.get_running_loop().time
        deadline = now() + self._call_seconds_max
        for attempt in range(1, ATTEMPTS_MAX):
            try:
                return await self._ask(call)
            except TwilioUnavailable as error:
                seconds = self._pause_seconds(error, attempt)
                is_too_long = seconds > PAUSE_SECONDS_MAX or now() + seconds > deadline
                if error.may_be_done or is_too_long:
                    raise
            await self._pause(seconds)
        return await self._ask(call)

    def _pause_seconds(self, error: TwilioUnavailable, attempt: int) -> float:
        """At least what Twilio asks for; else half a second, doubled, and half luck."""
        # Without luck, all who were turned away at once come back at once.
        ours = _PAUSE_SECONDS * float(2 ** (attempt - 1)) * (0.5 + self._jitter() / 2)
        asked = error.retry_after_seconds if isinstance(error, TwilioBusy) else 0
        return asked + ours if asked else ours

    async def _ask(self, call: _Call) -> _Answer:
        """One attempt, with each token until one is not refused."""
        for token in self._tokens:
            async with self._calls:
                answer = await self._exchange(call, token)
            if answer.status != HTTPStatus.UNAUTHORIZED:
                self._tokens = (token, *(t for t in self._tokens if t != token))
                break
        _check(call, answer)
        return answer

    async def _exchange(self, call: _Call, token: str) -> _Answer:
        with _translated(call):
            return await self._sent(call, token)

    async def _sent(self, call: _Call, token: str) -> _Answer:
        given = f"{self._account_sid}:{token}".encode()
        authorization = f"Basic {base64.b64encode(given).decode()}"
        async with self._session.request(
            call.method,
            call.url,
            headers={**call.headers, "Authorization": authorization},
            data=call.body,
            allow_redirects=False,
        ) as response:
            body = b""
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > ANSWER_BYTES_MAX:
                    raise _unusable(call, "is larger than any that we asked for")
            text = body.decode("utf-8", "replace")
            return _Answer(response.status, text, response.headers)

    def _redirected(self, url: str) -> str:
        """Where the call goes: one of Twilio's hosts, or what stands for them.

        A link to the next page is followed as Twilio writes it. To any other host it is
        not: the credentials would go with it.
        """
        parts = urlsplit(url)
        host = parts.hostname or ""
        if host.endswith(".twilio.com") and parts.scheme == "https":
            if self._api_url is None:
                return url
            query = f"?{parts.query}" if parts.query else ""
            return f"{self._api_url}{parts.path}{query}"
        if self._api_url is not None and url.startswith(f"{self._api_url}/"):
            return url
        raise TwilioUnusableAnswer("it links to a host that is not Twilio's")


@contextmanager
def _translated(call: _Call) -> Iterator[None]:
    """What befalls a connection, as our errors."""
    try:
        yield
    except TimeoutError as error:
        raise TwilioTimeout(
            f"{call.named} was not answered in time", may_be_done=call.is_change
        ) from error
    except aiohttp.ClientConnectorError as error:
        host = call.url.host
        raise TwilioUnavailable(f"{host} cannot be connected to") from error
    except aiohttp.ClientPayloadError as error:
        raise _unusable(call, "ends in the middle") from error
    except aiohttp.ClientError as error:
        raise TwilioUnavailable(
            f"{call.named} was cut off: {type(error).__name__}",
            may_be_done=call.is_change,
        ) from error


def _check(call: _Call, answer: _Answer) -> None:
    """Let a success pass that the package can read, and nothing else."""
    document = _document(answer.text)
    if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise TwilioUnavailable(
            f"{call.named} was answered {answer.status}", may_be_done=call.is_change
        )
    if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
        raise TwilioBusy(
            f"{call.named} was answered 429",
            retry_after_seconds=_retry_after(answer.headers.get("Retry-After", "")),
        )
    if answer.status >= HTTPStatus.BAD_REQUEST:
        raise _refusal(call, answer.status, document)
    if document is None and answer.status != HTTPStatus.NO_CONTENT:
        raise _unusable(call, "is not a JSON object")


def _refusal(
    call: _Call, status: int, document: Mapping[str, object] | None
) -> TwilioRefused:
    code = (document or {}).get("code")
    twilio_code = code if isinstance(code, int) else None
    kind = _OF_STATUS.get(status, TwilioRefused)
    if twilio_code == _WRONG_CREDENTIALS:
        kind = TwilioUnauthenticated
    known = (
        f"error {code}, https://www.twilio.com/docs/api/errors/{code}"
        if twilio_code is not None
        else "without a code of Twilio's"
    )
    return kind(
        f"{call.named} was answered {status}, {known}",
        status=status,
        twilio_code=twilio_code,
    )


def _unusable(call: _Call, fault: str) -> TwilioUnusableAnswer:
    return TwilioUnusableAnswer(
        f"the answer to {call.named} {fault}", may_be_done=call.is_change
    )


def _document(text: str) -> Mapping[str, object] | None:
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return document if isinstance(document, dict) else None


def http_date(value: str) -> datetime | None:
    """A moment as HTTP writes it; None where it is none."""
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def _retry_after(value: str) -> int:
    """Seconds that Retry-After asks for, as a number or as a date; else one."""
    if value.isascii() and value.isdigit():
        return max(1, int(value[:9]))
    until = http_date(value)
    if until is None:
        return 1
    return max(1, int((until - datetime.now(UTC)).total_seconds()) + 1)


def _form(fields: Mapping[str, object] | None) -> str:
    given = {name: value for name, value in (fields or {}).items() if value is not None}
    return urlencode(given, doseq=True)


def _body(data: Any, headers: Mapping[str, str]) -> bytes:  # noqa: ANN401
    if headers.get("Content-Type") == "application/json":
        return orjson.dumps(data)
    return _form(data).encode()
