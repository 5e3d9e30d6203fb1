"""The event store on PostgreSQL, through asyncpg.

Appends go through one connection at a time of the pool, and the function of migration
0001 does the rest in one round trip. Never decides anything about consent.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final, cast
from uuid import UUID

import asyncpg

from ledger.domain.ids import MessageId, Position, SubjectId, Version
from ledger.errors import PositionMissing, StoreUnavailable, UnknownEvent
from ledger.store.codec import (
    STATE_HEAD,
    STATE_MIDDLE,
    Entry,
    RecordedEvent,
    StoredRow,
    decode,
)
from ledger.store.database import Connection, Pool, translated
from ledger.store.event_store import (
    Appended,
    Conflict,
    Duplicate,
    FromTheFuture,
    Outcome,
    Stream,
    StreamId,
)
from ledger.store.master import WrappedKey
from ledger.store.releases import explained
from ledger.store.statements import statement

_APPEND = statement("ledger.store", "append_events")
_READ_STREAMS = statement("ledger.store", "read_streams")
_READ_AFTER = statement("ledger.store", "read_after")
_FIND_TEXTS = statement("ledger.store", "find_texts")
_FIND_SIGNAL = statement("ledger.store", "find_signal")
_FIND_SIGNALS = statement("ledger.store", "find_signals")
_READ_AT = statement("ledger.store", "read_at")
_AWAIT_EVENTS = statement("ledger.store", "await_events")
_LAST_POSITION = statement("ledger.store", "last_position")

_ALL_APPENDED: Final = "all appended"


class PostgresEventStore:
    """``EventStore`` in the tables of migration 0001."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def append(self, entries: Sequence[Entry]) -> list[Outcome]:
        """See ``EventStore.append``."""
        if not entries:
            return []
        try:
            with translated():
                # In a statement of its own, which commits before fetch() returns:
                # asyncpg reads up to ReadyForQuery, which the server sends after the
                # commit record is on disk. From here on a crash loses nothing that is
                # returned.
                return await append_with(self._pool, entries)
        except StoreUnavailable as error:
            if isinstance(error.__cause__, asyncpg.ReadOnlySQLTransactionError):
                # A session that began read-only stays so, though the database is not.
                await self._pool.expire_connections()
            raise

    async def read_streams(
        self, after: Mapping[StreamId, Version]
    ) -> dict[StreamId, Stream]:
        """See ``EventStore.read_streams``."""
        with translated():
            rows = await self._pool.fetch(
                _READ_STREAMS, list(after.keys()), list(after.values())
            )
        streams = _streams(after, rows)
        for stream in streams.values():
            if stream.unknown is not None:
                stream.unknown = await explained(self._pool, stream.unknown)
        return streams

    async def texts_of(
        self, subject_ids: Iterable[SubjectId]
    ) -> dict[SubjectId, list[MessageId]]:
        """See ``EventStore.texts_of``."""
        found: dict[SubjectId, list[MessageId]] = {i: [] for i in subject_ids}
        with translated():
            digits = [subject_id.hex.encode() for subject_id in found]
            rows = await self._pool.fetch(_FIND_TEXTS, digits)
        for subject_id, message_id in rows:
            found[subject_id].append(MessageId(message_id))
        return found

    async def read_after(self, position: Position, limit: int) -> list[RecordedEvent]:
        """See ``EventStore.read_after``."""
        return await self.decoded(await self.read_rows_after(position, limit))

    async def read_rows_after(
        self, position: Position, limit: int
    ) -> Sequence[StoredRow]:
        """See ``EventStore.read_rows_after``."""
        with translated():
            found = await self._pool.fetch(_READ_AFTER, position, limit)
        # A Record unpacks as a StoredRow does; making one of each takes its time.
        rows = cast("list[StoredRow]", found)
        _check_gapless(position, rows)
        return rows

    async def position_of(self, key: UUID) -> Position | None:
        """See ``EventStore.position_of``."""
        with translated():
            found: Position | None = await self._pool.fetchval(_FIND_SIGNAL, key)
        return found

    async def positions_of(self, keys: Sequence[UUID]) -> dict[UUID, Position]:
        """See ``EventStore.positions_of``."""
        with translated():
            rows = await self._pool.fetch(_FIND_SIGNALS, keys)
        return {key: Position(position) for key, position in rows}

    async def read_at(self, positions: Sequence[Position]) -> list[RecordedEvent]:
        """See ``EventStore.read_at``."""
        with translated():
            rows = await self._pool.fetch(_READ_AT, positions)
        return await self.decoded(cast("list[StoredRow]", rows))

    async def await_events(self) -> Position:
        """See ``EventStore.await_events``."""
        with translated():
            return Position(await self._pool.fetchval(_AWAIT_EVENTS))

    async def last_position(self) -> Position:
        """See ``EventStore.last_position``."""
        with translated():
            return Position(await self._pool.fetchval(_LAST_POSITION))

    async def decoded(self, rows: Sequence[StoredRow]) -> list[RecordedEvent]:
        """See ``EventStore.decoded``."""
        try:
            return [decode(row) for row in rows]
        except UnknownEvent as unknown:
            raise await explained(self._pool, unknown) from None


async def append_with(
    connection: Connection | Pool, entries: Sequence[Entry]
) -> list[Outcome]:
    """As ``EventStore.append``, within the caller's transaction, if there is one.

    The lock that orders the ledger is then held until that transaction ends.
    """
    rows = await connection.fetch(_APPEND, *_columns(entries))
    name, position, recorded_at = rows[0]
    if name == _ALL_APPENDED:
        return _all_appended(entries, position, recorded_at)
    return [_outcome(*row) for row in rows]


def _all_appended(
    entries: Sequence[Entry], position: int, recorded_at: datetime
) -> list[Outcome]:
    """One after the other, each where its first event is."""
    outcomes: list[Outcome] = []
    for entry in entries:
        outcomes.append(Appended(Position(position), recorded_at))
        position += len(entry.events)
    return outcomes


def _streams(
    ids: Iterable[StreamId], rows: Iterable[asyncpg.Record]
) -> dict[StreamId, Stream]:
    streams = {stream_id: Stream() for stream_id in ids}
    by_id: Mapping[UUID, Stream] = cast("dict[UUID, Stream]", streams)
    for *row, wrapped_key, master_key in rows:
        stored = StoredRow(*row)
        stream = by_id[stored.originator_id]
        if stream.unknown is None and stored.originator_version is not None:
            try:
                stream.known.append(decode(stored))
            except UnknownEvent as unknown:
                stream.unknown = unknown
        if wrapped_key is not None:
            stream.key = WrappedKey(wrapped_key, master_key)
    return streams


def _columns(entries: Sequence[Entry]) -> tuple[object, ...]:
    """The entries as the arrays that the statement takes, a row for each event.

    What an entry has as a whole is in its first row, and null in the others.
    """
    rows: list[tuple[object, ...]] = []
    for entry in entries:
        key = entry.data_key
        first, *others = entry.events
        sealed_with = (key.box, entry.is_new_key) if key else (None, None)
        person = (entry.subject_id, entry.subject_version, *sealed_with)
        rows.append((entry.key, *first, *person))
        rows += [(None, *event, None, None, None, None) for event in others]
    # What is stored is new, and what is new was wrapped by this process.
    made = (entry.data_key for entry in entries if entry.is_new_key)
    master_key = next((key.master_key for key in made if key), "")
    day = next(filter(None, (entry.day for entry in entries)), None)
    sealed_on = (day.name, day.box) if day else (None, None)
    (keys, streams, versions, topics, occurred, tails, *persons) = zip(
        *rows, strict=True
    )
    subjects, subject_versions, data_keys, new_keys = persons
    return (
        *map(_array, (keys, streams, versions, topics, occurred)),
        tails,
        *map(_array, (subjects, subject_versions)),
        data_keys,
        _array(new_keys),
        master_key,
        *sealed_on,
        STATE_HEAD,
        STATE_MIDDLE,
    )


def _array(values: Sequence[object]) -> str:
    """A column as PostgreSQL writes an array; unnest() makes up for what is short.

    Nothing in it is to be quoted: ids, numbers, names of kinds, times, truth values.
    """
    if values.count(None) == len(values):
        return "{}"
    return f"{{{','.join(['NULL' if v is None else str(v) for v in values])}}}"


def _outcome(name: str, position: int, recorded_at: datetime) -> Outcome:
    match name:
        case "appended":
            return Appended(Position(position), recorded_at)
        case "duplicate":
            return Duplicate(Position(position))
        case "future":
            return FromTheFuture()
        case _:
            return Conflict()


def _check_gapless(after: Position, rows: Sequence[StoredRow]) -> None:
    for expected, row in enumerate(rows, start=after + 1):
        if (position := row[4]) != expected:
            raise PositionMissing(f"position {expected} is missing before {position}")
