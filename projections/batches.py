"""Reads the ledger batch by batch, as whoever keeps projections up to date takes it.

Whoever begins in a batch and says something there and no more is *heard*, as in
``pages``: under load, when it matters, most who text do it for the first time. Every
other event is decoded. Never writes.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ledger.domain.events import ConsentChanged, MessageEvent, SubjectErased
from ledger.domain.ids import PhoneNumber, Position, Sealed, SubjectId
from ledger.store.codec import RecordedEvent, StoredRow
from ledger.store.event_store import EventStore
from ledger.store.keyring import Keyring
from ledger.store.said import Said, SaidReader
from projections.digests import digests_of
from projections.projection import NO_KEYS, Batch, Heard


class _Stream(NamedTuple):
    """Whoever may be heard."""

    said: list[Said]
    rows: list[StoredRow]


class Batches:
    """Reads what follows a position."""

    def __init__(self, store: EventStore, keyring: Keyring) -> None:
        self._store = store
        self._keyring = keyring
        self._reader = SaidReader()

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
        heard: list[Heard] = []
        begun: dict[SubjectId, PhoneNumber] = {}
        if holds_numbers:
            heard = await self._heard(self._begun(rows))
        ids = {each.subject_id for each in heard}
        events = await self._store.decoded([row for row in rows if row[0] not in ids])
        if holds_numbers:
            begun = await self._keyring.phone_numbers(_first_said(events))
        keys = NO_KEYS
        if holds_texts:
            texts = (e.subject_id for _, e in events if isinstance(e, MessageEvent))
            keys = await self._keyring.subject_keys_of_living(texts)
        erased = (e.subject_id for _, e in events if isinstance(e, SubjectErased))
        return Batch(
            events,
            begun,
            frozenset(erased),
            digests_of(rows),
            heard,
            self._keyring.phone_numbers,
            keys,
        )

    def _begun(self, rows: Iterable[StoredRow]) -> dict[SubjectId, _Stream]:
        """Whoever begins here, and says something and no more."""
        streams: dict[SubjectId, list[StoredRow]] = {}
        for row in rows:
            subject_id, version, *_ = row
            if version == 1:
                streams[SubjectId(subject_id)] = [row]
            elif subject_id in streams:
                streams[SubjectId(subject_id)].append(row)
        begun = {}
        # In the order of the tables' keys: so they write fast.
        for subject_id in sorted(streams):
            own = streams[subject_id]
            said = [told for row in own if (told := self._reader.read(row))]
            if len(said) == len(own):
                begun[subject_id] = _Stream(said, own)
        return begun

    async def _heard(self, begun: dict[SubjectId, _Stream]) -> list[Heard]:
        """Those whose keys are there: of the erased, who has rows is told elsewhere."""
        keys = await self._keyring.subject_keys_of_living(begun)
        heard = []
        for subject_id, (said, rows) in begun.items():
            if key := keys.get(subject_id):
                _, version, _, _, _, sealed = said[0]
                sealed_number = Sealed(sealed, "ascii")
                number = key.open_number(sealed_number, subject_id, version)
                heard.append(Heard(subject_id, number, said, rows))
        return heard


def _first_said(events: Sequence[RecordedEvent]) -> Iterable[ConsentChanged]:
    return (
        event
        for _, event in events
        if event.originator_version == 1 and isinstance(event, ConsentChanged)
    )
