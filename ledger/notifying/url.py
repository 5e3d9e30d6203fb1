"""Posts notices to a URL, signed as Standard Webhooks has it.

Only an answer of 2xx counts as delivered. A redirect is none: whoever moves says so
here, since a number is not sent to where nobody has set it. Never says in an error or a
log what was sent, or whereto.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Final, Self

import aiohttp
from standardwebhooks import Webhook

from ledger.errors import NoticeUndelivered
from ledger.notifying.notice import Notice

_SUCCESS: Final = range(200, 300)


class UrlChannel:
    """Posts to ``url``; every secret signs, so that a receiver can change its own."""

    name: Final[str] = "url"

    def __init__(
        self, url: str, secrets: Sequence[str], *, timeout_seconds: float
    ) -> None:
        self._url = url
        self._signers = [Webhook(secret) for secret in secrets]
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Be ready; nobody is called yet."""
        self._session = aiohttp.ClientSession(timeout=self._timeout)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close what connections there are."""
        if self._session is not None:
            await self._session.close()

    async def deliver(self, notice: Notice) -> None:
        """See ``Channel.deliver``."""
        try:
            status = await self._post(notice)
        except TimeoutError:
            raise NoticeUndelivered("the receiver did not answer in time") from None
        except aiohttp.ClientError as error:
            # By its kind alone: the message names the address.
            kind = type(error).__name__
            raise NoticeUndelivered(f"the receiver cannot be used: {kind}") from None
        if status not in _SUCCESS:
            raise NoticeUndelivered(f"the receiver answered {status}")

    async def _post(self, notice: Notice) -> int:
        assert self._session is not None  # noqa: S101 - it was entered
        body = notice.as_json()
        headers = {"Content-Type": "application/json", **self._signed(notice.id, body)}
        async with self._session.post(
            self._url, data=body, headers=headers, allow_redirects=False
        ) as response:
            return response.status

    def _signed(self, notice_id: str, body: bytes) -> dict[str, str]:
        now = datetime.now(UTC)
        text = body.decode()
        return {
            "webhook-id": notice_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(
                signer.sign(notice_id, now, text) for signer in self._signers
            ),
        }
