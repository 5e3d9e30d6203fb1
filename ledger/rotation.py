"""Rotating the master key: every key is wrapped anew, and no event is touched.

Safe to kill at any moment and to run again: a key that the current master key has
wrapped is passed over. The subtle part is the compare-and-set: a key is replaced only
where it is still what was read, so that one that is destroyed meanwhile stays so.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

from ledger.errors import MasterKeyMissing
from ledger.progress import Advance
from ledger.store.database import Pool, translated
from ledger.store.keyring import (
    IDENTITY_PURPOSE,
    day_purpose,
    kept_purpose,
    subject_purpose,
)
from ledger.store.master import MasterKeys, WrappedKey
from ledger.store.statements import statement

BATCH_MAX: Final = 1000
_COUNT: Final = statement("ledger", "count_wrapped_keys")
_COUNT_SECONDS_MAX: Final = 600
"""It reads every key once, and may take longer than a statement of the service."""
_NOBODY: Final = UUID(int=0)


class _Table(NamedTuple):
    """A table of wrapped keys."""

    read: str
    rewrap: str
    first: tuple[object, ...]
    """Its primary key before every row's."""
    purpose: Callable[..., bytes]
    """What the key of a row is wrapped for, by its primary key."""


_TABLES: Final = (
    _Table(
        statement("ledger", "read_identity_key_to_rewrap"),
        statement("ledger", "rewrap_identity_key"),
        (),
        lambda: IDENTITY_PURPOSE,
    ),
    _Table(
        statement("ledger", "read_evidence_keys_to_rewrap"),
        statement("ledger", "rewrap_evidence_keys"),
        ("",),
        day_purpose,
    ),
    _Table(
        statement("ledger", "read_kept_evidence_keys_to_rewrap"),
        statement("ledger", "rewrap_kept_evidence_keys"),
        (_NOBODY, ""),
        kept_purpose,
    ),
    _Table(
        statement("ledger", "read_subject_keys_to_rewrap"),
        statement("ledger", "rewrap_subject_keys"),
        (_NOBODY,),
        subject_purpose,
    ),
)


class InUse(NamedTuple):
    """How many keys each master key has wrapped, by its id."""

    current: str
    keys: dict[str, int]

    @property
    def left(self) -> int:
        """How many keys the current master key has not wrapped."""
        return sum(self.keys.values()) - self.keys.get(self.current, 0)


class Rotation:
    """Wraps every key with the current one of the master keys."""

    def __init__(self, pool: Pool, masters: MasterKeys) -> None:
        self._pool = pool
        self._masters = masters

    async def in_use(self) -> InUse:
        """Which master keys the ledger needs.

        Raises:
            MasterKeyMissing: one that was not given.
            StoreUnavailable: the database cannot be read now.
        """
        with translated():
            async with self._pool.acquire() as connection:
                rows = await connection.fetch(_COUNT, timeout=_COUNT_SECONDS_MAX)
        keys: dict[str, int] = {row["master_key"]: row["count"] for row in rows}
        missing = keys.keys() - self._masters.ids
        if missing:
            raise MasterKeyMissing(
                f"{sum(keys[id_] for id_ in missing)} keys are wrapped with master key "
                f"{', '.join(sorted(missing))}, which was not given: set "
                "LEDGER_MASTER_KEY to the new one and to every old one after it"
            )
        return InUse(self._masters.current, keys)

    async def run(self, advance: Advance) -> int:
        """Wrap anew what another master key has wrapped; how many keys that were.

        Raises:
            MasterKeyMissing: one cannot be unwrapped.
            StoreUnavailable: the database cannot be used now; what was wrapped anew
                stays so.
        """
        done = 0
        for table in _TABLES:
            after: tuple[object, ...] | None = table.first
            while after is not None:
                count, after = await self._batch(table, after)
                advance(count)
                done += count
        return done

    async def _batch(
        self, table: _Table, after: tuple[object, ...]
    ) -> tuple[int, tuple[object, ...] | None]:
        """Look at some keys; how many were wrapped anew, and where to go on."""
        current = self._masters.current
        with translated():
            rows = await self._pool.fetch(table.read, BATCH_MAX, *after)
            others = [row for row in rows if row["master_key"] != current]
            last = tuple(rows[-1])[:-2] if len(rows) == BATCH_MAX else ()
            if not others:
                return 0, last or None
            columns = list(self._columns(table, others))
            done = await self._pool.execute(table.rewrap, current, *columns)
        return int(done.split()[-1]), last or None

    def _columns(
        self, table: _Table, rows: Sequence[Any]
    ) -> Iterator[list[bytes] | list[object]]:
        """The old keys, the new ones, and the columns of the primary key."""
        keys = [tuple(row)[:-2] for row in rows]
        olds = [WrappedKey(*tuple(row)[-2:]) for row in rows]
        yield [old.box for old in olds]
        yield [
            self._masters.rewrap(old, table.purpose(*key)).box
            for key, old in zip(keys, olds, strict=True)
        ]
        yield from (list(column) for column in zip(*keys, strict=True))
