"""What was applied, as digests: one for each stretch of positions and slice.

Everything that is stored of an event is hashed with its position, and the hashes of a
cell, 128 bits of each, are joined by XOR and counted. So whoever applies a batch adds
to what is kept without having read it, in any order of subjects; and since an event
belongs to one cell once, what is lost, doubled, moved or altered shows in the sum or in
the count. Holds nothing personal, and stays when somebody is erased. Pure.

The subtle part: it has no key. It finds faults, and whoever changes an event and no
more; who can write to the database and knows this file can change the digests too.
"""

from collections import defaultdict
from collections.abc import Iterable
from functools import reduce
from hashlib import sha256
from operator import xor
from struct import Struct
from typing import Final, NamedTuple

from ledger.store.codec import StoredRow
from projections.slices import SLICES

STRETCH: Final = 65_536
"""How many positions a digest covers, from 1, 65,537, … on."""

_PLACE: Final = Struct(">qq16s").pack
_HALVES: Final = Struct(">qq").unpack_from
_END: Final = b"\0"
_DIGEST_BYTES: Final = 32
_SLICE_SHIFT: Final = 8 - (SLICES.bit_length() - 1)


class Digest(NamedTuple):
    """How many events, and 128 bits of them in two signed halves."""

    events: int
    high: int
    low: int

    def __str__(self) -> str:
        """The bits, as hexadecimal digits."""
        return "".join(f"{half % 2**64:016x}" for half in self[1:])

    def without(self, other: "Digest") -> "Digest":
        """What this one has more than ``other``, or the other more than this one."""
        return Digest(
            self.events - other.events, self.high ^ other.high, self.low ^ other.low
        )


NOTHING: Final = Digest(0, 0, 0)


class Digests(NamedTuple):
    """Digests to add, each column as PostgreSQL writes an array."""

    first_positions: str
    slices: str
    events: str
    high: str
    low: str


NO_DIGESTS: Final = Digests("{}", "{}", "{}", "{}", "{}")


def first_position(position: int) -> int:
    """Where the stretch begins that ``position`` is in."""
    return (position - 1) // STRETCH * STRETCH + 1


def digest_of(row: StoredRow) -> Digest:
    """One event's."""
    subject_id, version, topic, state, position = row
    place = _PLACE(position, version, subject_id.bytes)
    digest = sha256(place + topic.encode() + _END + state).digest()
    return Digest(1, *_HALVES(digest))


def digests_of(rows: Iterable[StoredRow]) -> Digests:
    """Those of events, in the order of stretches and slices.

    One straight line, without ``digest_of``: every event comes through here.
    """
    cells: defaultdict[int, list[bytes]] = defaultdict(list)
    for subject_id, version, topic, state, position in rows:
        stored_id = subject_id.bytes
        place = _PLACE(position, version, stored_id)
        stored = b"%b%b\0%b" % (place, topic.encode(), state)
        cell = (position - 1) // STRETCH * SLICES + (stored_id[0] >> _SLICE_SHIFT)
        cells[cell].append(sha256(stored).digest())
    ordered = sorted(cells)
    sums = [_HALVES(_sum(cells[cell])) for cell in ordered]
    return Digests(
        _array(cell // SLICES * STRETCH + 1 for cell in ordered),
        _array(cell % SLICES for cell in ordered),
        _array(len(cells[cell]) for cell in ordered),
        _array(high for high, _ in sums),
        _array(low for _, low in sums),
    )


def _sum(digests: Iterable[bytes]) -> bytes:
    """The XOR of some."""
    numbers = [int.from_bytes(digest, "big") for digest in digests]
    return reduce(xor, numbers).to_bytes(_DIGEST_BYTES, "big")


def _array(values: Iterable[int]) -> str:
    return f"{{{','.join(map(str, values))}}}"
