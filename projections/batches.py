"""Reads the ledger batch by batch, as whoever keeps projections up to date takes it.

What begins in a batch and is plain there is read from its bytes, as in ``pages``: under
load, when it matters, most who text do it for the first time. Every other event is
decoded. Never writes.
"""

from collections.abc import Iterable, Sequence
from uuid import UUID

from ledger.domain.events import ConsentChanged, MessageEvent, SubjectErased
from ledger.domain.ids import Position, Sealed
from ledger.store.codec import RecordedEvent, StoredRow
from ledger.store.event_store import EventStore
from ledger.store.keyring import Keyring
from projections.digests import digests_of
from projections.plain import PlainReader
from projections.projection import Batch


class Batches:
    """Reads what follows a position."""

    def __init__(self, store: EventStore, keyring: Keyring) -> None:
        self._store = store
        self._keyring = keyring
        self._plain = PlainReader(keyring)

    async def read(
        self, position: Position, limit: int, *, holds_numbers: bool, holds_texts: bool
    ) -> Batch:
        """At most so many events, and whose they and the texts are, if it is asked for.

        Raises:
            PositionMissing, UnknownEvent, EventBroken, KeyMissing, SealBroken: it
                cannot be applied.
            StoreUnavailable: the database cannot be read now.
        """
        rows = await self._store.read_rows_after(position, limit)
        plain = await self._plain.read(
            _begun(rows), holds_numbers=holds_numbers, holds_texts=holds_texts
        )
        ids = plain.stream_ids
        events = await self._store.decoded([row for row in rows if row[0] not in ids])
        first = _first_said(events) if holds_numbers else []
        wanted = {event.subject_id for event in first}
        if holds_texts:
            wanted |= {e.subject_id for _, e in events if isinstance(e, MessageEvent)}
        others = wanted.difference(plain.keys)
        keys = plain.keys | await self._keyring.subject_keys_of_living(others)
        begun = {
            event.subject_id: key.open_number(
                Sealed(event.phone_number), event.subject_id, event.version
            )
            for event in first
            if (key := keys.get(event.subject_id))
        }
        return Batch(
            events,
            begun,
            frozenset(e.subject_id for _, e in events if isinstance(e, SubjectErased)),
            digests_of(rows),
            plain.heard,
            plain.texts,
            self._keyring.phone_numbers,
            keys,
        )


def _begun(rows: Iterable[StoredRow]) -> dict[UUID, list[StoredRow]]:
    """The streams that begin here, in the order of the tables' keys: written fast."""
    streams: dict[UUID, list[StoredRow]] = {}
    for row in rows:
        if row[1] == 1:
            streams[row[0]] = [row]
        elif own := streams.get(row[0]):
            own.append(row)
    return {stream_id: streams[stream_id] for stream_id in sorted(streams)}


def _first_said(events: Sequence[RecordedEvent]) -> list[ConsentChanged]:
    return [
        event
        for _, event in events
        if event.originator_version == 1 and isinstance(event, ConsentChanged)
    ]
