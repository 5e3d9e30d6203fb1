"""Twilio's Consent API: tells it what people say, in its batches and at its pace.

Write-only at Twilio. A call says where things stand and changes nothing when repeated,
so, unlike a text, one that may have been carried out is repeated, a few times. Two
subtle parts. A call that succeeds may have refused some of its items. And one that is
refused whole is cut in half, so that what one item is refused for holds nobody else
back.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, Final
from uuid import UUID, uuid5

from ledger.errors import TwilioRefused, TwilioUnavailable, TwilioUnusableAnswer
from ledger.pushing.wishes import Wish
from ledger.twilio.account import TwilioAccount, translated, understood
from ledger.twilio.transport import Pause

ITEMS_MAX: Final = 25
CALLS_A_MINUTE: Final = 100
_TRIES_MAX: Final = 3
_NAMESPACE: Final = UUID("6c65646f-6572-8000-8000-70757368636f")
_STATUSES: Final = {"in": "opt-in", "out": "opt-out"}

Results = dict[Wish, int | None]
"""What came of each: None, or Twilio's code of why not."""


class Consents:
    """One account's Consent API."""

    def __init__(
        self,
        account: TwilioAccount,
        *,
        pause: Pause = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.calls = 0
        self._account = account
        self._pause = pause
        self._clock = clock
        self._next = 0.0

    async def tell(self, wishes: Sequence[Wish]) -> Results:
        """Tell Twilio at most ``ITEMS_MAX`` things.

        Raises:
            TwilioRefused: for a reason that is none of the items'.
            TwilioUnavailable: it is not known which of them it has; safe to try again.
        """
        try:
            return await self._insist(wishes)
        except TwilioRefused as refusal:
            if refusal.status != HTTPStatus.BAD_REQUEST:
                raise
            if len(wishes) == 1:
                return {wishes[0]: refusal.twilio_code or refusal.status}
        half = len(wishes) // 2
        first = await self.tell(wishes[:half])
        return first | await self.tell(wishes[half:])

    async def _insist(self, wishes: Sequence[Wish]) -> Results:
        for attempt in range(1, _TRIES_MAX + 1):
            try:
                return await self._call(wishes)
            except TwilioUnavailable as error:
                if not error.may_be_done or attempt == _TRIES_MAX:
                    raise
        raise AssertionError

    async def _call(self, wishes: Sequence[Wish]) -> Results:
        await self._in_time()
        self.calls += 1
        named = {correlation_id(wish): wish for wish in wishes}
        items: list[object] = [_item(name, wish) for name, wish in named.items()]
        create = self._account.client.accounts.v1.bulk_consents.create_async
        answer = await understood(create(items=items))
        with translated():
            codes = {_name(one): int(one["error_code"] or 0) for one in answer.items}
        if not named.keys() <= codes.keys():
            raise TwilioUnusableAnswer(
                "the Consent API has not answered for each item", may_be_done=True
            )
        return {wish: codes[name] or None for name, wish in named.items()}

    async def _in_time(self) -> None:
        """Wait until the next call is within what Twilio takes a minute."""
        wait = self._next - self._clock()
        if wait > 0:
            await self._pause(wait)
        self._next = max(self._next, self._clock()) + 60 / CALLS_A_MINUTE


def correlation_id(wish: Wish) -> str:
    """32 characters, the same for the same wish."""
    said = f"{wish.subject_id} {wish.sender} {wish.version}"
    return uuid5(_NAMESPACE, said).hex


def _item(name: str, wish: Wish) -> dict[str, str]:
    return {
        "contact_id": wish.number,
        "correlation_id": name,
        "sender_id": wish.sender,
        "status": _STATUSES[wish.status],
        "source": wish.source,
        "date_of_consent": wish.occurred_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def _name(item: Any) -> str:  # noqa: ANN401 - the package has no types
    return str(item["correlation_id"]).replace("-", "")
