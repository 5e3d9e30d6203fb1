"""A part of the ledger between two positions, read a batch at a time.

Every batch is a statement of its own, so whoever is slow with one holds nothing. Never
ends early without a word: positions have no gap, so what is not there has been lost.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from ledger.domain.ids import Position
from ledger.errors import PositionMissing
from ledger.store.codec import RecordedEvent
from ledger.store.event_store import EventStore

BATCH_MAX: Final = 500
"""How many events are read, and held, at once."""


@dataclass(frozen=True, slots=True)
class Span:
    """What comes after one position, up to and with another."""

    after: Position
    until: Position

    @property
    def count(self) -> int:
        """How many events it has."""
        return max(0, self.until - self.after)

    def rest(self, position: Position) -> "Span":
        """What is left of it after a position."""
        return Span(max(self.after, position), self.until)

    async def next_batch(self, store: EventStore) -> list[RecordedEvent]:
        """Its first events; none where it is empty.

        Raises:
            PositionMissing: the ledger has lost an event, its last one included.
            UnknownEvent, StoreUnavailable: as ``EventStore.read_after``.
        """
        wanted = min(BATCH_MAX, self.count)
        if not wanted:
            return []
        recorded = await store.read_after(self.after, wanted)
        if len(recorded) < wanted:
            missing = self.after + len(recorded) + 1
            raise PositionMissing(f"position {missing} is missing, and those after it")
        return recorded


async def last_before(store: EventStore, time: datetime) -> Position:
    """The last position that was recorded before ``time``; 0 if none was.

    Recorded at never decreases with position, so a few events are looked at and not
    all: 23 in a ledger of five million.

    Raises:
        PositionMissing, UnknownEvent, StoreUnavailable: as ``Span.next_batch``.
    """
    low, high = Position(0), await store.last_position()
    while low < high:
        middle = Position((low + high + 1) // 2)
        [found] = await Span(Position(middle - 1), middle).next_batch(store)
        if found.event.recorded_at < time:
            low = middle
        else:
            high = Position(middle - 1)
    return low
