"""An account's log of messages, as Twilio shows it: by days, page by page.

Never says what a text means. Three subtle parts. Twilio lists the newest first, and the
order in which things were said matters, so a day is read to its end and turned around.
Its times have whole seconds: within one, the list's own order counts. And a list cannot
be asked for direction, service or error, so what is not wanted is left out here.
"""

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from typing import Any, Final, NamedTuple

from twilio.base import values

from ledger.twilio.account import TwilioAccount, records, translated

PAGE_SIZE: Final = 1_000
_DAY: Final = timedelta(days=1)


class Scope(NamedTuple):
    """What of the log is wanted; all of it where both are None."""

    to: str | None = None
    """One of our addresses: what was sent to it, and from it."""
    service_sid: str | None = None
    addresses: frozenset[str] = frozenset()
    """Those in the service now: an old text may not name the service."""

    def has(self, logged: "Logged") -> bool:
        """Whether a message is wanted."""
        if self.service_sid is not None:
            ours = logged.to if logged.is_inbound else logged.from_
            return logged.service_sid == self.service_sid or ours in self.addresses
        return True


class Logged(NamedTuple):
    """A message of the log."""

    sid: str
    account_sid: str
    at: datetime
    from_: str
    to: str
    service_sid: str
    """Empty where Twilio names none."""
    body: str
    media: int
    is_inbound: bool
    status: str
    error_code: int | None


async def messages_of(
    account: TwilioAccount, day: date, scope: Scope
) -> AsyncIterator[Logged]:
    """The messages of a day in UTC, the newest first.

    Raises:
        TwilioRefused, TwilioUnavailable: they cannot be had.
    """
    # Both ends are given as times and held against each message: whether Twilio takes
    # them as times or as days, no message is left out.
    start = datetime.combine(day, time.min, UTC)
    asked: dict[str, Any] = {"date_sent_after": start, "date_sent_before": start + _DAY}
    filters: list[dict[str, str]] = [{}]
    if scope.to is not None:
        filters = [{"to": scope.to}, {"from_": scope.to}]
    for more in filters:
        page = partial(account.client.messages.page_async, **asked, **more)
        async for record in records(page, page_size=PAGE_SIZE):
            logged = _logged(record)
            if logged.at.date() == day and scope.has(logged):
                yield logged


async def service_scope(account: TwilioAccount, service_sid: str) -> Scope:
    """A service's texts, with the addresses that are in it now.

    Raises:
        InvalidRequest: it is no service's SID.
        TwilioRefused, TwilioUnavailable: it cannot be had.
    """
    await account.receiver("service", service_sid)
    pool = await account.pool(service_sid)
    names = {r.name for r in await account.receivers() if r.sid in pool}
    return Scope(service_sid=service_sid, addresses=frozenset(names))


def _logged(record: Any) -> Logged:  # noqa: ANN401 - the package has no types
    with translated():
        at = record.date_sent or record.date_created
        if not isinstance(at, datetime) or not record.sid:
            raise ValueError
        return Logged(
            sid=str(record.sid),
            account_sid=str(record.account_sid),
            at=at,
            from_=_text(record.from_),
            to=_text(record.to),
            service_sid=_text(record.messaging_service_sid),
            body=_text(record.body),
            media=int(record.num_media or 0),
            is_inbound=str(record.direction) == "inbound",
            status=_text(record.status),
            error_code=int(record.error_code) if record.error_code else None,
        )


def _text(value: object) -> str:
    return "" if value in (None, values.unset) else str(value)
