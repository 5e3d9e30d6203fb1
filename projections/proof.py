"""Holds the digests that were kept against the events, stretch by stretch.

PostgreSQL makes the digests anew from the events, in SQL that shares nothing with the
projector's; each stretch is one short transaction. Never writes, and never looks at
rows. The subtle part is naming: a digest says which slice and stretch is wrong, about
a thousand events; where one or two of them explain it, they are named, and where the
events themselves have changed, what is sealed in them is opened.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from ledger.domain.events import ConsentChanged, MessageEvent
from ledger.errors import (
    KeyMissing,
    MasterKeyMissing,
    RebuildUnsound,
    StoreUnavailable,
)
from ledger.store.codec import StoredRow, decode
from ledger.store.database import Connection
from ledger.store.keyring import Keyring
from ledger.store.scan import SCAN_SECONDS_MAX, digest_positions, read_slice_between
from ledger.store.statements import statement
from projections.comparison import (
    CHECKPOINTS,
    EVENTS,
    Difference,
    Kind,
    unreadable,
)
from projections.digests import NOTHING, STRETCH, Digest, digest_of, first_position
from projections.slices import SLICES, slice_at

_READ_APPLIED = statement("projections", "read_applied")
_READ_DIGESTS = statement("projections", "read_digests")
_READ_UNLIKE = statement("projections", "read_unlike_digests")

DIGESTS: Final = "projection_digests"

NAMED_MAX: Final = 2
"""So many events are looked for that explain a digest."""

CELLS_MAX: Final = 100
"""So many cells that are wrong are read to name events; the rest are only told."""

Cells = dict[int, Digest]
"""By slice; what is not there is ``NOTHING``."""


class Stretch(NamedTuple):
    """Consecutive positions, of which digests are kept together."""

    first: int
    last: int


class Proven(NamedTuple):
    """What came of a stretch."""

    cells: Counter[str]
    """How many digests were compared, by version of a projection."""
    found: list[Difference]


class Wrong(NamedTuple):
    """A digest that is not what the events say."""

    name: str
    """Of which version of a projection."""
    until: int
    """The last position that it should hold."""
    kept: Digest
    expected: Digest


def stretches(first: int, last: int) -> Iterator[Stretch]:
    """The stretches in which positions from ``first`` to ``last`` are, whole."""
    for begin in range(first_position(first), last + 1, STRETCH):
        yield Stretch(begin, begin + STRETCH - 1)


async def have_applied_the_same(
    connection: Connection, keyring: Keyring, name: str, serving: int, version: int
) -> bool:
    """Whether two versions at one position have; if not, the serving one is wrong.

    Raises:
        RebuildUnsound: the other one has not applied what the events say.
    """
    unlike = await unlike_stretches(connection, name, serving, version)
    proof = Proof(connection, keyring, [f"{name}_v{version}"])
    for first in unlike:
        proven = await proof.compare(Stretch(first, first + STRETCH - 1))
        if proven.found:
            raise RebuildUnsound(
                f"{name}_v{version} at positions {first} to {first + STRETCH - 1}"
            )
    return not unlike


async def unlike_stretches(
    connection: Connection, name: str, serving: int, version: int, *, since: int = 1
) -> list[int]:
    """Where the stretches begin of which two versions have not applied the same."""
    span = (name, serving, version, first_position(since))
    return [row[0] for row in await connection.fetch(_READ_UNLIKE, *span)]


class Proof:
    """Compares kept digests with the events, on a connection of the caller's."""

    def __init__(
        self, connection: Connection, keyring: Keyring, names: Collection[str]
    ) -> None:
        self._connection = connection
        self._keyring = keyring
        self._names = names
        """Versions of projections, as ``consent_history_v1``."""
        self._ahead: dict[str, int] = {}
        self._cells_left = CELLS_MAX

    async def moved(self) -> list[Difference]:
        """The checkpoints that are not as far as their digests say.

        To be called first: what a digest holds past its checkpoint is looked at too.
        """
        rows = await self._connection.fetch(_READ_APPLIED, timeout=SCAN_SECONDS_MAX)
        found = []
        for name, version, checkpoint, applied in rows:
            key = f"{name}_v{version}"
            self._ahead[key] = max(applied - checkpoint, 0)
            if applied != checkpoint and key in self._names:
                stored, expected = {"position": checkpoint}, {"position": applied}
                where = {"projection": key}
                found.append(
                    Difference(CHECKPOINTS, "moved", None, where, stored, expected)
                )
        return found

    async def compare(self, stretch: Stretch) -> Proven:
        """Compare the digests of a stretch, at one moment."""
        async with self._connection.transaction(
            isolation="repeatable_read", readonly=True
        ):
            standing = await self._standing(stretch)
            made = {
                until: await digest_positions(self._connection, stretch.first, until)
                for until in {until for until, _ in standing.values()}
            }
            wrong: dict[int, list[Wrong]] = {}
            cells: Counter[str] = Counter()
            for name, (until, kept) in standing.items():
                expected = {n: Digest(*digest) for n, digest in made[until].items()}
                cells[name] = len(kept.keys() | expected.keys())
                for n in kept.keys() | expected.keys():
                    pair = kept.get(n, NOTHING), expected.get(n, NOTHING)
                    if pair[0] != pair[1]:
                        wrong.setdefault(n, []).append(Wrong(name, until, *pair))
            found = [
                difference
                for n in sorted(wrong)
                for difference in await self._named(n, stretch, wrong[n])
            ]
        return Proven(cells, found)

    async def _standing(self, stretch: Stretch) -> dict[str, tuple[int, Cells]]:
        """Of each version: as far as it is to be compared, and what it has kept."""
        standing: dict[str, tuple[int, Cells]] = {}
        rows = await self._connection.fetch(_READ_DIGESTS, stretch.first)
        for name, version, checkpoint, number, *digest in rows:
            key = f"{name}_v{version}"
            if key not in self._names:
                continue
            until = min(stretch.last, checkpoint + self._ahead.get(key, 0))
            _, kept = standing.setdefault(key, (until, {}))
            if number is not None:
                kept[number] = Digest(*digest)
        return standing

    async def _named(
        self, number: int, stretch: Stretch, wrong: list[Wrong]
    ) -> list[Difference]:
        """What is wrong with a cell, and with which events, if that can be told."""
        where: dict[str, object] = {
            "slice": number,
            "positions": f"{stretch.first} to {max(w.until for w in wrong)}",
        }
        rows: Sequence[StoredRow] = ()
        if self._cells_left > 0 and number in range(SLICES):
            self._cells_left -= 1
            last = max(w.until for w in wrong)
            part = slice_at(number)
            rows = await read_slice_between(
                self._connection, part.first, part.last, stretch.first, last
            )
        if len(self._names) > 1 and len(wrong) == len(self._names) and _agree(wrong):
            kept, expected = wrong[0].kept, wrong[0].expected
            altered = _unequal(EVENTS, "altered", where, kept, expected)
            return [altered, *await self._unopened(rows)]
        found: list[Difference] = []
        for one in wrong:
            named = list(_misapplied(one, rows))
            whose = {"projection": one.name} | where
            found += named or [
                _unequal(DIGESTS, "unequal", whose, one.kept, one.expected)
            ]
        return found

    async def _unopened(self, rows: Sequence[StoredRow]) -> list[Difference]:
        """The events in which what is sealed does not open though its key does.

        Of a thousand few do not, so all are tried at once, and else half and half.
        """
        try:
            events = [decode(row).event for row in rows]
            await self._keyring.opened(
                [e for e in events if isinstance(e, ConsentChanged | MessageEvent)]
            )
        except StoreUnavailable:
            raise
        # An event that was altered may lack anything.
        except Exception as error:  # noqa: BLE001
            if (half := len(rows) // 2) > 0:
                first, second = rows[:half], rows[half:]
                return [*await self._unopened(first), *await self._unopened(second)]
            if isinstance(error, MasterKeyMissing | KeyMissing):
                return []
            return [unreadable(rows[0][0], rows[0][4], error)]
        return []


def _agree(wrong: Sequence[Wrong]) -> bool:
    """Whether all have applied as many events as there are, and the same ones."""
    first = wrong[0]
    return first.kept.events == first.expected.events and all(
        (other.until, other.kept) == (first.until, first.kept) for other in wrong
    )


def _misapplied(wrong: Wrong, rows: Sequence[StoredRow]) -> Iterator[Difference]:
    """The few events that were not applied, or twice, if that explains the digest."""
    gap = wrong.kept.without(wrong.expected)
    if not 1 <= abs(gap.events) <= NAMED_MAX:
        return
    kind: Kind = "lost" if gap.events < 0 else "doubled"
    for row in _explaining(gap, (row for row in rows if row[4] <= wrong.until)):
        where = {"projection": wrong.name, "position": row[4]}
        yield Difference(DIGESTS, kind, row[0], where)


def _explaining(gap: Digest, rows: Iterable[StoredRow]) -> Sequence[StoredRow]:
    """The one event, or the two, whose digests join to ``gap``.

    Two are looked up by one: a thousand events are half a million pairs.
    """
    by_bits = {digest_of(row)[1:]: row for row in rows}
    if abs(gap.events) == 1:
        return [by_bits[gap[1:]]] if gap[1:] in by_bits else []
    for (high, low), row in by_bits.items():
        other = by_bits.get((high ^ gap.high, low ^ gap.low), row)
        if other is not row:
            return [row, other]
    return []


def _unequal(
    table: str,
    kind: Kind,
    where: dict[str, object],
    kept: Digest,
    expected: Digest,
) -> Difference:
    stored, due = (
        {"events": digest.events, "digest": str(digest)} for digest in (kept, expected)
    )
    return Difference(table, kind, None, where, stored, due)
