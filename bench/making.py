"""Makes the rows of a story's events: a process's own share of the numbers.

With the domain's decision, the codec and the ledger's own keys, so that a row is what
the event store would have written; only the two times, which the database would have
joined in, are joined here. Never writes to the database. All events of a number are one
process's, which so knows the stream that the next one is decided on.
"""

import asyncio
import gc
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from multiprocessing.connection import Connection
from typing import Final, NamedTuple

import asyncpg

from bench.story import Moment, Shape, day_names, moments, signal
from ledger.domain.consent import Subject, assume, decide, nobody
from ledger.domain.ids import PhoneNumber
from ledger.domain.signals import Signal
from ledger.master_key import load_master_keys
from ledger.settings import Settings
from ledger.store.codec import STATE_HEAD, STATE_MIDDLE, Entry, Sealing, encode
from ledger.store.identity import Identity
from ledger.store.keyring import Keyring
from ledger.store.master import WrappedKey
from ledger.store.sealing import Day

# PostgreSQL manual, COPY, "Binary Format": how many fields, and the length of each.
_UUID: Final = struct.Struct("!hi16s")
_BIGINT: Final = struct.Struct("!iq")
_LENGTH: Final = struct.Struct("!i")


class Chunk(NamedTuple):
    """A share of the rows of one transaction, as COPY takes them."""

    events: list[tuple[int, bytes]]
    """Each with its position, which says where between the others' it goes."""
    signals: bytes
    subjects: bytes
    recorded_at: datetime
    """When the last of the whole transaction's is recorded, whosever it is."""


class _Keys(NamedTuple):
    """What rows are made and sealed with."""

    ring: Keyring
    identity: Identity
    days: Mapping[str, Day]


@dataclass(slots=True)
class _Known:
    """A number's stream so far, and its key: wrapped, which is a tenth of the size."""

    subject: Subject
    key: WrappedKey


def make(
    sending: Connection,
    dsn: str,
    given: Mapping[str, str],
    shape: Shape,
    share: tuple[int, int],
) -> None:
    """Send a ``Chunk`` for each of the story's, in order; waits for the receiver."""
    gc.disable()  # Nothing here has cycles, and looking for them is slow.
    maker = _Maker(asyncio.run(_load(dsn, given)), share)
    for some in _chunks(shape):
        sending.send(maker.chunk(some))


async def _load(dsn: str, given: Mapping[str, str]) -> _Keys:
    """The keys of a ledger that is prepared."""
    masters = load_master_keys(Settings.from_mapping(given))
    connection = await asyncpg.connect(dsn)
    try:
        ring = Keyring(connection, masters)
        return _Keys(ring, await ring.identity(), await ring.days(day_names()))
    finally:
        await connection.close()


def _chunks(shape: Shape) -> Iterator[list[Moment]]:
    told = moments(shape)
    while some := list(islice(told, shape.chunk)):
        yield some


class _Maker:
    """Remembers the numbers of its share."""

    def __init__(self, keys: _Keys, share: tuple[int, int]) -> None:
        self._keys = keys
        self._share, self._shares = share
        self._known: dict[int, _Known] = {}

    def chunk(self, some: list[Moment]) -> Chunk:
        """The rows of those of the moments that are ours."""
        events: list[tuple[int, bytes]] = []
        signals = bytearray()
        subjects = bytearray()
        for moment in some:
            if moment.ordinal % self._shares != self._share:
                continue
            known = self._known.get(moment.ordinal)
            heard = signal(moment, is_first=known is None)
            if known is None:
                known = self._known[moment.ordinal] = self._begin(heard.phone_number)
                subjects += _subject_row(known)
            entry, occurred_at = self._decide(known, heard, moment)
            events.append((moment.position, _event_row(entry, occurred_at, moment)))
            signals += _UUID.pack(2, 16, entry.key.bytes)
            signals += _BIGINT.pack(8, moment.position)
        return Chunk(events, bytes(signals), bytes(subjects), some[-1].recorded_at)

    def _begin(self, phone_number: PhoneNumber) -> _Known:
        subject_id = self._keys.identity.subject_id(phone_number)
        wrapped = self._keys.ring.new_subject_key(subject_id).wrapped
        return _Known(nobody(subject_id), wrapped)

    def _decide(
        self, known: _Known, heard: Signal, moment: Moment
    ) -> tuple[Entry, datetime]:
        """What is appended, and when that occurred; then it is known."""
        [proposal] = decide(known.subject, heard)
        occurred_at = proposal.occurred_at or moment.recorded_at
        known.subject = assume(
            known.subject, proposal._replace(occurred_at=occurred_at)
        )
        entry = encode(
            self._keys.identity.signal_key(heard.key),
            [proposal],
            Sealing(
                known.subject.id,
                self._keys.ring.subject_key(known.subject.id, known.key),
                is_new_key=proposal.version == 1,
                day=self._keys.days[moment.recorded_at.date().isoformat()],
            ),
        )
        return entry, occurred_at


def _event_row(entry: Entry, occurred_at: datetime, moment: Moment) -> bytes:
    [event] = entry.events
    topic = event.topic.encode()
    times = (_rfc3339(moment.recorded_at), _rfc3339(occurred_at))
    state = b"".join((STATE_HEAD, times[0], STATE_MIDDLE, times[1], event.tail))
    return b"".join(
        (
            _UUID.pack(5, 16, event.stream_id.bytes),
            _BIGINT.pack(8, event.version),
            _LENGTH.pack(len(topic)),
            topic,
            _LENGTH.pack(len(state)),
            state,
            _BIGINT.pack(8, moment.position),
        )
    )


def _subject_row(known: _Known) -> bytes:
    box, master_key = known.key.box, known.key.master_key.encode()
    return b"".join(
        (
            _UUID.pack(3, 16, known.subject.id.bytes),
            _LENGTH.pack(len(box)),
            box,
            _LENGTH.pack(len(master_key)),
            master_key,
        )
    )


def _rfc3339(at: datetime) -> bytes:
    """As the database's ``rfc3339_v1`` writes it: with microseconds, even none."""
    return at.isoformat(timespec="microseconds").encode()
