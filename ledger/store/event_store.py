"""What an event store promises. The implementation is ``postgres``."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, Protocol, TypeVar
from uuid import UUID

from ledger.domain.ids import MessageId, Position, SubjectId, Version
from ledger.errors import UnknownEvent
from ledger.store.codec import Entry, RecordedEvent, StoredRow
from ledger.store.master import WrappedKey

StreamId = TypeVar("StreamId", bound=UUID)


class Appended(NamedTuple):
    """The entry's first event is durable at ``position``, its others behind it."""

    position: Position
    recorded_at: datetime


class Duplicate(NamedTuple):
    """The signal's key was there already; its first event is at ``position``."""

    position: Position


@dataclass(frozen=True, slots=True)
class Conflict:
    """The version is taken: read the stream again and decide again."""


@dataclass(frozen=True, slots=True)
class FromTheFuture:
    """The event says that it occurred later than the database's clock says it is."""


Outcome = Appended | Duplicate | Conflict | FromTheFuture


@dataclass(slots=True)
class Stream:
    """The newest events of a stream, oldest first, and a subject's key as it is stored.

    A subject without a key has been erased, if it has events at all. One with a key may
    have none: whoever only sent texts has said nothing of consent.
    """

    known: list[RecordedEvent] = field(default_factory=list)
    """All, or those before the first that this release does not know."""
    unknown: UnknownEvent | None = None
    key: WrappedKey | None = None

    @property
    def events(self) -> list[RecordedEvent]:
        """All of them, or an error: half a stream says nothing of a person.

        Raises:
            UnknownEvent: one is of a kind that this release does not know.
        """
        if self.unknown is not None:
            raise self.unknown
        return self.known

    def up_to(self, position: Position) -> list[RecordedEvent]:
        """Those at a position and before, whatever comes later.

        Raises:
            UnknownEvent: one of them is of a kind that this release does not know.
        """
        if self.unknown is not None and self.unknown.position <= position:
            raise self.unknown
        return [event for event in self.known if event.position <= position]


class EventStore(Protocol):
    """The only writer of events."""

    async def append(self, entries: Sequence[Entry]) -> list[Outcome]:
        """Append a batch in one transaction; one outcome an entry, in their order.

        Atomicity: what is ``Appended`` is in the ledger with the key of its signal, and
        with all events of its entry, in one transaction; the rest is not there at all,
        and does not hold back the rest.
        Ordering: positions are gapless, in commit order and in the order of
        ``entries``; recorded at never decreases with position.
        Durability: on return the transaction is committed with synchronous_commit=on.
        Retries: safe after any error, since a key counts once.
        Cancellation: leaves it unknown whether the batch was committed, as a lost
        connection does; the same entries may be appended again.

        Raises:
            StoreUnavailable: it could not be committed, or that is not known.
        """
        ...

    async def read_streams(
        self, after: Mapping[StreamId, Version]
    ) -> dict[StreamId, Stream]:
        """Each stream after a version, empty where it ends there.

        With the key of a subject, where its stream is read from its begin or goes on.

        One with an event that this release does not know says so when it is asked.

        Raises:
            EventBroken: an event is not whole.
            StoreUnavailable: the database cannot be read now.
        """
        ...

    async def texts_of(
        self, subject_ids: Iterable[SubjectId]
    ) -> dict[SubjectId, list[MessageId]]:
        """The streams of the texts to and from those subjects, oldest first.

        Raises:
            StoreUnavailable: the database cannot be read now.
        """
        ...

    async def read_rows_after(
        self, position: Position, limit: int
    ) -> Sequence[StoredRow]:
        """As ``read_after``, and as they are stored: not decoded.

        Raises:
            PositionMissing: the ledger has lost an event.
            StoreUnavailable: the database cannot be read now.
        """
        ...

    async def decoded(self, rows: Sequence[StoredRow]) -> list[RecordedEvent]:
        """The events in stored rows.

        Raises:
            UnknownEvent, EventBroken: as ``read_after``.
        """
        ...

    async def read_after(self, position: Position, limit: int) -> list[RecordedEvent]:
        """At most ``limit`` events after ``position``, in order, without a gap.

        Raises:
            PositionMissing: the ledger has lost an event.
            UnknownEvent: an event is of a kind that this release does not know.
            EventBroken: an event is not whole.
            StoreUnavailable: the database cannot be read now.
        """
        ...

    async def position_of(self, key: UUID) -> Position | None:
        """Where the signal with this key was recorded; None if it never was.

        Raises:
            StoreUnavailable: the database cannot be read now.
        """
        ...

    async def positions_of(self, keys: Sequence[UUID]) -> dict[UUID, Position]:
        """Where those signals of ``keys`` were recorded that were.

        Raises:
            StoreUnavailable: the database cannot be read now.
        """
        ...

    async def read_at(self, positions: Sequence[Position]) -> list[RecordedEvent]:
        """The events at ``positions``, which are there, in the ledger's order.

        Raises:
            UnknownEvent: an event is of a kind that this release does not know.
            StoreUnavailable: the database cannot be read now.
        """
        ...

    async def await_events(self) -> Position:
        """The position of the newest event, whose next one is notified.

        Who has read up to there may wait for that; who has not must read on, since an
        append that nobody awaited has told nobody.

        Raises:
            StoreUnavailable: the database cannot be written now.
        """
        ...

    async def last_position(self) -> Position:
        """The position of the newest event; 0 in an empty ledger.

        Raises:
            StoreUnavailable: the database cannot be read now.
        """
        ...
