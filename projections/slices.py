"""The ledger's subjects in equal ranges: all of it is gone through in parts.

A subject's id is a keyed HMAC, so equal ranges of ids hold about equally many subjects,
and a range of the events' primary key is all that its subjects ever said. Pure.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple
from uuid import UUID

SLICES: Final = 64
"""The fixed slices, where something is kept for each: a subject's never changes. As few
as name what is wrong well enough: what is kept is written with every batch."""

SLICES_MAX: Final = 2**24
_ID_BITS: Final = 128


class Slice(NamedTuple):
    """The subjects from ``first`` to ``last``, both included."""

    first: UUID
    last: UUID


EVERYBODY: Final = Slice(UUID(int=0), UUID(int=2**_ID_BITS - 1))


def slices(count: int = SLICES) -> Iterator[Slice]:
    """All subjects in ``count`` slices, in the order of their ids.

    ``count`` is a power of two: then every slice of a smaller count is a whole number
    of those of a greater one.
    """
    if count.bit_count() != 1 or count > SLICES_MAX:
        raise ValueError(f"{count} is not a power of two up to {SLICES_MAX}")
    for number in range(count):
        yield slice_at(number, count)


def slice_at(number: int, count: int = SLICES) -> Slice:
    """The slice of that number, from 0, of ``count``."""
    width = 2**_ID_BITS // count
    return Slice(UUID(int=number * width), UUID(int=(number + 1) * width - 1))


def slice_of(subject_id: UUID, count: int = SLICES) -> int:
    """Which of ``count`` slices, from 0, a subject is in."""
    return subject_id.int * count >> _ID_BITS


def slices_for(events: int, events_each: int) -> int:
    """How many slices have about ``events_each`` of so many events each, at most."""
    wanted = -(-events // events_each)
    return min(1 << max(wanted - 1, 0).bit_length(), SLICES_MAX)
