"""From rows to what became of them: batches, in lanes, with a count of everything.

Never decides: a batch goes to a ``Sink``, which records it or foresees it. Memory is
bounded by a few batches, whatever the file's size. The subtle part is the lanes: while
PostgreSQL works on one lane's batch, the next lane's is read, decided and sealed. All
rows of a number go through the same lane, one batch after the other, so that they are
recorded in the file's order; of different numbers the order is not kept.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, Protocol

from ledger.domain.signals import Signal
from ledger.errors import StoreUnavailable
from ledger.imports.interpret import Interpreted, Skipped, Why
from ledger.imports.refusals import Code, Refusal, Report, RowRefused
from ledger.imports.rows import Row, Rows
from ledger.progress import Advance

LANES: Final = 2
BATCH_ROWS: Final = 1_000
"""Long enough that a commit costs little a row, and short enough that a text that comes
in meanwhile waits some tens of milliseconds for its turn."""
OUTAGE_SECONDS_MAX: Final = 60.0
_PAUSE_SECONDS_FIRST: Final = 0.05
_PAUSE_SECONDS_MAX: Final = 2.0
_ROWS_A_TURN: Final = 100
"""Rows read before the connections may send and receive."""

Outcome = Literal["recorded", "duplicate"] | Skipped | RowRefused


class Sink(Protocol):
    """What batches go to."""

    async def take(self, signals: Sequence[Signal]) -> list[Outcome]:
        """What became of each, in their order; safe after any error.

        Raises:
            StoreUnavailable: the database cannot be used now.
        """
        ...


class Reader(Protocol):
    """What says what a row says."""

    def interpret(self, row: Row) -> Interpreted:
        """A signal, or why there is none.

        Raises:
            RowRefused: the row cannot be recorded.
        """
        ...


@dataclass(slots=True)
class Tally:
    """How many rows went where; what was read is the sum of the rest."""

    recorded: int = 0
    duplicates: int = 0
    skipped: Counter[Why] = field(default_factory=Counter)
    refused: Counter[Code] = field(default_factory=Counter)
    is_whole: bool = False
    """Whether the file was read to its end."""

    @property
    def rows(self) -> int:
        """How many rows are settled."""
        done = self.recorded + self.duplicates
        return done + self.skipped.total() + self.refused.total()


class _Item(NamedTuple):
    row: Row
    signal: Signal


_Batch = list[_Item]


class Importer:
    """Takes the rows of one file to a sink."""

    def __init__(
        self,
        reader: Reader,
        sink: Sink,
        report: Report,
        advance: Advance,
        *,
        outage_seconds_max: float = OUTAGE_SECONDS_MAX,
    ) -> None:
        self.tally = Tally()
        self._reader = reader
        self._sink = sink
        self._report = report
        self._advance = advance
        self._outage_seconds_max = outage_seconds_max

    async def run(self, rows: Rows, stopping: asyncio.Event) -> None:
        """Settle every row, or those that were read until ``stopping`` is set.

        ``tally`` counts what is settled, after an error too.

        Raises:
            StoreUnavailable: the database could not be used for too long.
        """
        queues: list[asyncio.Queue[_Batch]] = [asyncio.Queue(1) for _ in range(LANES)]
        try:
            async with asyncio.TaskGroup() as lanes:
                for queue in queues:
                    lanes.create_task(self._lane(queue))
                await self._read(rows, queues, stopping)
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None

    async def _read(
        self, rows: Rows, queues: list[asyncio.Queue[_Batch]], stopping: asyncio.Event
    ) -> None:
        batches: list[_Batch] = [[] for _ in queues]
        bytes_before = 0
        self.tally.is_whole = True
        for place, row in enumerate(rows.each):
            if place % _ROWS_A_TURN == 0:
                await asyncio.sleep(0)
                if stopping.is_set():
                    self.tally.is_whole = False
                    break
            item = self._interpreted(row)
            if item is None:
                continue
            lane = hash(item.signal.phone_number) % LANES
            batches[lane].append(item)
            if len(batches[lane]) == BATCH_ROWS:
                await queues[lane].put(batches[lane])
                batches[lane] = []
                self._advance(rows.bytes_read() - bytes_before)
                bytes_before = rows.bytes_read()
        for queue, batch in zip(queues, batches, strict=True):
            await queue.put(batch)
            await queue.put([])
        self._advance(rows.bytes_read() - bytes_before)

    def _interpreted(self, row: Row | Refusal) -> _Item | None:
        if isinstance(row, Refusal):
            self._refuse(row)
            return None
        try:
            said = self._reader.interpret(row)
        except RowRefused as why:
            self._refuse(row.refused(why))
            return None
        if isinstance(said, Skipped):
            self.tally.skipped[said.why] += 1
            return None
        return _Item(row, said)

    async def _lane(self, queue: asyncio.Queue[_Batch]) -> None:
        is_last = False
        while not is_last:
            batch = await queue.get()
            if batch:
                outcomes = await self._taken([item.signal for item in batch])
                for item, outcome in zip(batch, outcomes, strict=True):
                    self._count(item.row, outcome)
            is_last = not batch

    async def _taken(self, signals: Sequence[Signal]) -> list[Outcome]:
        """What became of a batch; an outage is waited out, for some time."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._outage_seconds_max
        pause = _PAUSE_SECONDS_FIRST
        while True:
            try:
                return await self._sink.take(signals)
            except StoreUnavailable:
                if loop.time() + pause > deadline:
                    raise
            await asyncio.sleep(pause)
            pause = min(2 * pause, _PAUSE_SECONDS_MAX)

    def _count(self, row: Row, outcome: Outcome) -> None:
        match outcome:
            case "recorded":
                self.tally.recorded += 1
            case "duplicate":
                self.tally.duplicates += 1
            case Skipped(why):
                self.tally.skipped[why] += 1
            case RowRefused():
                self._refuse(row.refused(outcome))

    def _refuse(self, refusal: Refusal) -> None:
        self.tally.refused[refusal.code] += 1
        self._report.write(refusal)
