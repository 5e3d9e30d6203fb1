"""Compares the ledger with what Twilio shows, and says where the two have drifted.

Three kinds of drift are what the log of messages has and the ledger has not: a STOP, a
START, a refusal with 21610. The fourth is a number that is ``in`` and was deactivated.
Never decides: what a message says is the walk's to say, and what ends a consent the
domain's. Never names a number in full.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, Literal, NamedTuple, get_args

from ledger.domain.ids import PhoneNumber
from ledger.imports.walk import Found
from ledger.lapses import Lapses
from ledger.progress import Advance
from ledger.settings import Settings
from ledger.twilio.account import TwilioAccount
from ledger.twilio.deactivations import deactivated_on

Kind = Literal["stop", "start", "blocked", "deactivated"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
EXAMPLES_MAX: Final = 20

_NUMBERS_AT_ONCE: Final = 1_000
_DAY: Final = timedelta(days=1)


class Example(NamedTuple):
    """One thing that differs, without the number."""

    kind: Kind
    at: datetime
    number: str
    """As ``+1…00``."""
    message_sid: str | None


@dataclass(slots=True)
class Drift:
    """Where the ledger and Twilio differ."""

    counts: Counter[Kind] = field(default_factory=Counter)
    examples: list[Example] = field(default_factory=list)
    listed: int = 0
    """Numbers on the lists of deactivations."""
    unreadable: int = 0
    """Lines of these lists that are no US number."""
    days_without_list: list[date] = field(default_factory=list)

    def meet(self, found: Found) -> None:
        """A message that says something; it is drift if it was not recorded before."""
        if found.outcome != "recorded":
            return
        signal = found.signal
        kind: Kind = "stop" if signal.status == "out" else "start"
        if signal.matched_by == "error21610":
            kind = "blocked"
        self.add(kind, found.logged.at, signal.phone_number, found.logged.sid)

    def add(
        self, kind: Kind, at: datetime, number: PhoneNumber, sid: str | None = None
    ) -> None:
        """One more."""
        self.counts[kind] += 1
        if len(self.examples) < EXAMPLES_MAX:
            self.examples.append(Example(kind, at, masked(number), sid))


class Deactivations:
    """Finds out, day by day, whose consent has lapsed; and records it, if asked to."""

    def __init__(
        self,
        account: TwilioAccount,
        lapses: Lapses,
        settings: Settings,
        drift: Drift,
        actor: str | None,
    ) -> None:
        """Record as ``actor``; None to record nothing."""
        self._account = account
        self._lapses = lapses
        self._settings = settings
        self._drift = drift
        self._actor = actor

    async def run(self, since: date, stopping: asyncio.Event, advance: Advance) -> bool:
        """Go through the lists from ``since`` to today; whether it came to the end.

        Raises:
            TwilioRefused, TwilioUnavailable: a list cannot be had.
            StoreUnavailable: the database cannot be used now.
        """
        day, today = since, datetime.now(UTC).date()
        while day <= today:
            if stopping.is_set():
                return False
            await self._day(day)
            day += _DAY
            advance(1)
        return True

    async def _day(self, day: date) -> None:
        found = await deactivated_on(self._account, self._settings, day)
        if found is None:
            self._drift.days_without_list.append(day)
            return
        self._drift.listed += len(found.numbers)
        self._drift.unreadable += found.unreadable
        # Nobody knows at which hour: to its end, but not into the future.
        at = min(datetime.combine(day, time.max, UTC), datetime.now(UTC))
        numbers = found.numbers
        for start in range(0, len(numbers), _NUMBERS_AT_ONCE):
            await self._some(numbers[start : start + _NUMBERS_AT_ONCE], at)

    async def _some(self, numbers: Sequence[PhoneNumber], at: datetime) -> None:
        due = [one.number for one in await self._lapses.due(numbers, at)]
        for number in due:
            self._drift.add("deactivated", at, number)
        if due and self._actor is not None:
            await self._lapses.record(due, at, actor=self._actor)


def masked(number: str) -> str:
    """A number by its beginning and its end, which are many people's."""
    return f"{number[:2]}…{number[-2:]}"
