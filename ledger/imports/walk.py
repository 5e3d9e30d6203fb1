"""Takes Twilio's log of messages to a sink, day by day, the oldest first.

Never decides what a message says, nor what becomes of it. Memory is bounded by what one
day says of consent. A day is recorded whole before it is noted as done, so that a kill
at any moment costs one day's reading and nothing else: what was recorded counts once.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Final, NamedTuple, Protocol

from ledger.command_handler import CommandHandler
from ledger.domain.classify import Vocabulary
from ledger.domain.events import ConsentChanged
from ledger.domain.messages import Arrival, StatusReport, Text
from ledger.domain.signals import Signal
from ledger.imports.importer import BATCH_ROWS, Outcome, Sink, Tally
from ledger.imports.interpret import Skipped
from ledger.imports.refusals import RowRefused
from ledger.imports.twilio_log import interpret, interpret_block, is_block
from ledger.message_log import MessageLog
from ledger.progress import Advance
from ledger.store.database import Pool, translated
from ledger.store.event_store import EventStore
from ledger.store.statements import statement
from ledger.twilio.account import TwilioAccount
from ledger.twilio.log import Logged, Scope, messages_of

_READ: Final = statement("ledger.imports", "read_walk")
_SAVE: Final = statement("ledger.imports", "save_walk")
_DELETE: Final = statement("ledger.imports", "delete_walk")
_DAY: Final = timedelta(days=1)


class Place(Protocol):
    """Where it is kept how far a walk has come."""

    async def read(self) -> date | None:
        """The day to go on with; None where nothing was begun."""
        ...

    async def save(self, next_day: date) -> None:
        """Go on with that day, if this run ends now."""
        ...

    async def done(self) -> None:
        """The walk has come to its end."""
        ...


class Nowhere:
    """For a walk that changes nothing: it begins anew each time."""

    async def read(self) -> date | None:
        """See ``Place``."""
        return None

    async def save(self, next_day: date) -> None:
        """See ``Place``."""

    async def done(self) -> None:
        """See ``Place``."""


class Kept:
    """In the database, by the account and what is asked of it."""

    def __init__(self, pool: Pool, account_sid: str, asked: str) -> None:
        self._pool = pool
        self._key = (account_sid, asked)

    async def read(self) -> date | None:
        """See ``Place``."""
        with translated():
            found: date | None = await self._pool.fetchval(_READ, *self._key)
        return found

    async def save(self, next_day: date) -> None:
        """See ``Place``."""
        with translated():
            await self._pool.execute(_SAVE, *self._key, next_day)

    async def done(self) -> None:
        """See ``Place``."""
        with translated():
            await self._pool.execute(_DELETE, *self._key)


class Arrivals:
    """What the messages of a day are, by the keys of what they say of consent.

    For the sink that records: a text is recorded together with what it says.
    """

    def __init__(self) -> None:
        self.by_key: dict[str, Text | StatusReport] = {}

    def of(self, signal: Signal) -> Arrival:
        """What is to be recorded for a signal, which may have another time by now."""
        arrival = self.by_key.get(signal.key)
        if arrival is None:
            return signal
        return arrival._replace(signal=signal, occurred_at=signal.occurred_at)


class Found(NamedTuple):
    """A message that says something, and what became of it."""

    logged: Logged
    signal: Signal
    outcome: Outcome


@dataclass(slots=True)
class Walked:
    """What a walk has met."""

    tally: Tally = field(default_factory=Tally)
    resumed_from: date | None = None
    days: int = 0
    texts: int = 0
    """Those that say nothing of consent and are recorded all the same."""
    refused_sids: list[str] = field(default_factory=list)
    """Some of those that were refused."""


EXAMPLES_MAX: Final = 20


class Walk:
    """One walk through a part of an account's log."""

    def __init__(  # noqa: PLR0913, PLR0917 - what a walk is made of
        self,
        account: TwilioAccount,
        scope: Scope,
        vocabulary: Vocabulary,
        sink: Sink,
        log: MessageLog,
        arrivals: Arrivals | None = None,
    ) -> None:
        """With ``arrivals``, ordinary texts are recorded, too."""
        self.walked = Walked()
        self._account = account
        self._scope = scope
        self._vocabulary = vocabulary
        self._sink = sink
        self._log = log
        self._arrivals = arrivals
        self._ordinary: list[Text] = []

    async def run(
        self,
        since: date,
        place: Place,
        stopping: asyncio.Event,
        advance: Advance,
        meet: Callable[[Found], None] = lambda _: None,
    ) -> None:
        """Go through every day from ``since``, or from where ``place`` says, to today.

        ``meet`` is called with each message that says something of consent.

        Raises:
            TwilioRefused, TwilioUnavailable: the log cannot be read.
            StoreUnavailable: the database cannot be used now.
        """
        begin = await place.read()
        self.walked.resumed_from = begin
        day = begin or since
        advance((day - since).days)
        while day <= datetime.now(UTC).date():
            if stopping.is_set():
                return
            for found in await self._day(day):
                meet(found)
            day += _DAY
            self.walked.days += 1
            await place.save(day)
            advance(1)
        await place.done()
        self.walked.tally.is_whole = True

    async def _day(self, day: date) -> list[Found]:
        if self._arrivals is not None:
            self._arrivals.by_key.clear()
        said = [each async for each in self._said(day)]
        await self._record_ordinary(enough=1)
        # The list has the newest first; of one second, the order is the list's.
        said.reverse()
        said.sort(key=lambda one: one[0].at)
        return [
            found
            for start in range(0, len(said), BATCH_ROWS)
            for found in await self._taken(said[start : start + BATCH_ROWS])
        ]

    async def _said(self, day: date) -> AsyncIterator[tuple[Logged, Signal]]:
        async for logged in messages_of(self._account, day, self._scope):
            try:
                said = await self._interpreted(logged)
            except RowRefused as why:
                self._refuse(logged, why)
                continue
            if said is None:
                self.walked.tally.duplicates += 1
            elif isinstance(said, Skipped):
                self.walked.tally.skipped[said.why] += 1
            elif said.signal is not None:
                if self._arrivals is not None:
                    self._arrivals.by_key[said.signal.key] = said
                yield logged, said.signal
            else:
                self.walked.tally.skipped["saysNothing"] += 1
                if self._arrivals is not None and isinstance(said, Text):
                    self._ordinary.append(said)
                    await self._record_ordinary(enough=BATCH_ROWS)

    async def _interpreted(
        self, logged: Logged
    ) -> Text | StatusReport | Skipped | None:
        """What a message says; None where it is a refusal that was told before."""
        if not is_block(logged):
            return interpret(logged, self._vocabulary)
        # Ours has a stream of its own, by the key that it was sent under.
        account_sid, sid = logged.account_sid, logged.sid
        message_id = await self._log.find(account_sid, sid)
        if message_id is None:
            message_id = await self._log.message_id(f"{account_sid}:{sid}")
        elif (await self._log.read(message_id)).is_blocked:
            return None
        return interpret_block(logged, message_id)

    async def _record_ordinary(self, *, enough: int) -> None:
        if len(self._ordinary) < enough:
            return
        receipts = await self._log.record_all(self._ordinary)
        self._ordinary = []
        for receipt in receipts:
            if isinstance(receipt, Exception):
                raise receipt
            self.walked.texts += receipt.is_new

    async def _taken(self, said: Sequence[tuple[Logged, Signal]]) -> list[Found]:
        outcomes = await self._sink.take([signal for _, signal in said])
        found = []
        for (logged, signal), outcome in zip(said, outcomes, strict=True):
            found.append(Found(logged, signal, outcome))
            match outcome:
                case "recorded":
                    self.walked.tally.recorded += 1
                case "duplicate":
                    self.walked.tally.duplicates += 1
                case Skipped(why):
                    self.walked.tally.skipped[why] += 1
                case RowRefused():
                    self._refuse(logged, outcome)
        return found

    def _refuse(self, logged: Logged, why: RowRefused) -> None:
        self.walked.tally.refused[why.code] += 1
        if len(self.walked.refused_sids) < EXAMPLES_MAX:
            self.walked.refused_sids.append(f"{logged.sid}: {why.code}")


class InOrder:
    """A sink before a sink: keeps a text behind those that came before it.

    What the webhook has recorded has the time of its recording, a little later than
    Twilio's own. A STOP that the webhook missed, right after a START that it heard
    late, must not come to stand before that START.
    """

    def __init__(self, sink: Sink, handler: CommandHandler, store: EventStore) -> None:
        self._sink = sink
        self._handler = handler
        self._store = store

    async def take(self, signals: Sequence[Signal]) -> list[Outcome]:
        """See ``Sink.take``."""
        known = await self._handler.positions_of(signals)
        recorded = await self._store.read_at([*set(known.values())]) if known else []
        at = {p: e.occurred_at for p, e in recorded if isinstance(e, ConsentChanged)}
        latest: dict[str, datetime] = {}
        behind: list[Signal] = []
        for place, signal in enumerate(signals):
            before, own = latest.get(signal.phone_number), signal.occurred_at
            if place in known:
                own = at.get(known[place], own)
            elif before is not None and own is not None and own < before:
                own = before
                signal = signal._replace(occurred_at=own)  # noqa: PLW2901
            if own is not None and (before is None or own > before):
                latest[signal.phone_number] = own
            behind.append(signal)
        return await self._sink.take(behind)
