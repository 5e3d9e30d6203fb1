"""Reads the events of a slice of subjects, as much at a time as may be in memory.

And opens whose they are, for those who are alive. A stream that is plain, as nearly all
are, is read from its bytes; every other one is decoded. Never writes.

The subtle part is memory: a slice is read page by page, and somebody whose events are
more than a page is not folded as a whole but, as the tail is, batch by batch.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Final, NamedTuple
from uuid import UUID

from ledger.domain.events import ConsentChanged, MessageEvent, SubjectErased
from ledger.domain.ids import THE_LEDGER, PhoneNumber, Position, Sealed
from ledger.store.codec import RecordedEvent, StoredRow, decode
from ledger.store.database import Connection
from ledger.store.keyring import Keyring
from ledger.store.scan import read_slice_after
from ledger.store.sealing import SubjectKey
from projections.digests import Digests, digests_of
from projections.plain import PlainReader
from projections.projection import Batch, Heard, Person, ReceivedText
from projections.slices import Slice

EVENTS_A_PAGE: Final = 16_384
"""What is in memory at a time, at most: some tens of megabytes."""


class Page(NamedTuple):
    """Some subjects of a slice, up to the frontier, as projections take them."""

    events: int
    heard: list[Heard]
    texts: list[ReceivedText]
    people: list[Person]
    parts: list[Batch]
    """What follows of a stream that is longer than a page."""
    digests: Digests
    """Of all of them."""


class Pages:
    """Reads slices up to a frontier, each on a connection of the caller's."""

    def __init__(self, keyring: Keyring, frontier: Position) -> None:
        self._keyring = keyring
        self._frontier = frontier
        self._plain = PlainReader(keyring)

    async def read(self, connection: Connection, span: Slice) -> AsyncIterator[Page]:
        """All that a slice holds.

        Raises:
            UnknownEvent, EventBroken, KeyMissing, SealBroken: an event cannot be
                folded.
            StoreUnavailable: the database cannot be read now.
        """
        after, is_more = (span.first, 0), True
        while is_more:
            rows = await read_slice_after(connection, *after, span.last, EVENTS_A_PAGE)
            is_more = len(rows) == EVENTS_A_PAGE
            if not rows:
                return
            first, last = rows[0], rows[-1]
            # What did not begin in this page, or fills it, comes in parts.
            is_long = first[1] > 1 or (is_more and first[0] == last[0])
            in_parts = first[0] if is_long else None
            if is_more and first[0] != last[0]:
                # The last one may go on: it comes whole, with the next page.
                after, rows = (last[0], 0), [r for r in rows if r[0] != last[0]]
            else:
                after = (last[0], last[1])
            yield await self._page(rows, in_parts)

    async def _page(self, rows: Sequence[StoredRow], in_parts: UUID | None) -> Page:
        stored = [row for row in rows if row[4] <= self._frontier]
        streams = {i: list(own) for i, own in groupby(stored, key=itemgetter(0))}
        in_part = streams.pop(in_parts, []) if in_parts else []
        heard, texts, _ = plain = await self._plain.read(streams)
        ids = plain.stream_ids
        people = await self._people(
            {i: _decoded(rows) for i, rows in streams.items() if i not in ids}
        )
        parts = await self._parts(_decoded(in_part))
        return Page(len(stored), heard, texts, people, parts, digests_of(stored))

    async def _people(
        self, streams: Mapping[UUID, Sequence[RecordedEvent]]
    ) -> list[Person]:
        """Whoever is alive at the frontier, of the others, and their texts."""
        begun = {
            stream_id: stream
            for stream_id, stream in streams.items()
            if not isinstance(stream[-1].event, SubjectErased)
            and any(isinstance(e, ConsentChanged | MessageEvent) for _, e in stream)
        }
        whose = {i: stream[0].event.subject_id for i, stream in begun.items()}
        keys = await self._keyring.subject_keys_of_living(whose.values())
        return [
            _person(stream_id, stream, key)
            for stream_id, stream in begun.items()
            if (key := keys.get(whose[stream_id]))
        ]

    async def _parts(self, stream: Sequence[RecordedEvent]) -> list[Batch]:
        """What follows of who is alive still, as the tail would bring it."""
        if not stream or stream[0].event.stream_id == THE_LEDGER:
            return []
        first = stream[0].event
        keys = await self._keyring.subject_keys_of_living([first.subject_id])
        if (key := keys.get(first.subject_id)) is None:
            return []
        begun = {}
        # There may be nothing but holds in it: then it begins with a later part.
        if first.version == 1 and _said(stream):
            begun[first.subject_id] = _number(stream, key)
        numbers_of = self._keyring.phone_numbers
        return [Batch(stream, begun, frozenset(), numbers_of=numbers_of, keys=keys)]


def _decoded(rows: Iterable[StoredRow]) -> list[RecordedEvent]:
    return [decode(row) for row in rows]


def _person(
    stream_id: UUID, stream: Sequence[RecordedEvent], key: SubjectKey
) -> Person:
    if isinstance(stream[0].event, MessageEvent):
        return Person(stream_id, None, stream, key)
    return Person(stream_id, _number(stream, key), stream)


def _number(stream: Sequence[RecordedEvent], key: SubjectKey) -> PhoneNumber:
    """By what was said first: before that there may be a hold."""
    event = _said(stream)[0]
    return key.open_number(Sealed(event.phone_number), event.subject_id, event.version)


def _said(stream: Sequence[RecordedEvent]) -> list[ConsentChanged]:
    return [event for _, event in stream if isinstance(event, ConsentChanged)]
