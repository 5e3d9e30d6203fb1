"""Every text, in and out: between whom, when, and what became of it.

Never holds a body: that is opened from the event when an auditor reads it. The rules
are the domain's own ``fold``. The subtle part is erasure: a text has no row where its
person was erased, wherever in the ledger that is, and one of whom nothing is stored
here goes on without one.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from struct import Struct
from typing import Final, NamedTuple
from uuid import UUID

from ledger.domain.events import LedgerEvent, MessageEvent
from ledger.domain.ids import MessageId, Position, Sealed, SubjectId, Version
from ledger.domain.messages import Message, fold, unwritten
from ledger.store.codec import RecordedEvent
from ledger.store.database import Connection
from ledger.store.received import ReceivedWords
from ledger.store.said import WORDS_MAX
from ledger.store.sealing import SubjectKey
from ledger.store.statements import at_versions, statement
from projections.copying import NULL, copy_rows, moments, text, text_or_null
from projections.projection import (
    INDEX_SECONDS_MAX,
    Batch,
    Change,
    Heard,
    Person,
    ReceivedText,
    Row,
    Table,
)

_TABLE = statement("projections.messages", "table")
_CREATE_INDEXES = statement("projections.messages", "create_indexes")
_DROP_INDEXES = statement("projections.messages", "drop_indexes")
_DROP = statement("projections.messages", "drop_tables")
_DROP_FUNCTION = statement("projections.messages", "drop_function")
_ERASE = statement("projections.messages", "erase_subjects")
_READ = statement("projections.messages", "read_messages")
_UPSERT = statement("projections.messages", "upsert_messages")


class _Row(NamedTuple):
    """A row, in the table's order."""

    message_id: UUID
    subject_id: UUID
    phone_number: str
    sid: str | None
    direction: str
    sender: str | None
    address: str | None
    status: str
    error_code: int | None
    send_at: datetime | None
    position: Position
    version: Version
    occurred_at: datetime
    updated_at: datetime


_MESSAGES: Final = Table(
    "messages_v1", _Row._fields, 1, statement("projections.messages", "read_slice")
)
_Streams = Mapping[MessageId, Sequence[RecordedEvent]]

_IDS: Final = Struct(">hi16si16s").pack
_REST: Final = Struct(">iqiqiqiq").pack
_FIRST: Final = Version(1)


class Messages:
    """See ``projections.projection.Projection``."""

    name = "messages"
    shape = 1
    holds_numbers = False
    holds_texts = True
    says_consent = False

    def __init__(self, version: int = 1) -> None:
        self.version = version
        self.tables: tuple[Table, ...] = (_MESSAGES.at(self.name, version),)
        self._words: dict[ReceivedWords, bytes] = {}

    def _at(self, text: str) -> str:
        return at_versions(text, ((self.name, self.version),))

    async def create(self, connection: Connection) -> None:
        """Make the table and what erases from it."""
        await connection.execute(self._at(_TABLE))

    async def drop(self, connection: Connection) -> None:
        """Drop the table, and what erases from it."""
        await connection.execute(self._at(_DROP))
        await connection.execute(self._at(_DROP_FUNCTION))

    async def changes(
        self,
        connection: Connection,  # noqa: ARG002
        serving: int,  # noqa: ARG002
        examples: int,  # noqa: ARG002
        subjects: Collection[SubjectId] | None = None,  # noqa: ARG002
        *,
        until: Position | None = None,  # noqa: ARG002
    ) -> list[Change]:
        """Nothing: what became of a text says of nobody that they may be texted."""
        return []

    async def create_indexes(self, connection: Connection) -> None:
        """Make the indexes of lists."""
        await connection.execute(self._at(_CREATE_INDEXES), timeout=INDEX_SECONDS_MAX)

    async def drop_indexes(self, connection: Connection) -> None:
        """Leave the key, by which a text is found, and what an erasure needs."""
        await connection.execute(self._at(_DROP_INDEXES))

    async def apply(self, connection: Connection, batch: Batch) -> None:
        """Fold a batch onto the texts that it touches, and add those that begin.

        These by COPY: an INSERT of arrays costs asyncpg a look at every value's type.
        """
        copied = self.copied(batch.heard, batch.texts)
        if copied is None:
            copied, batch = (), batch.decoded()
        for table, received in zip(self.tables, copied, strict=False):
            await copy_rows(connection, table.name, table.columns, received)
        if batch.others:
            await self._fold(connection, batch)
        if batch.erased:
            await connection.execute(self._at(_ERASE), list(batch.erased))

    async def _fold(self, connection: Connection, batch: Batch) -> None:
        """Of texts that are sent, go on, or are not plain."""
        streams = _streams(batch)
        known = await self._load(connection, streams)
        rows = [
            row
            for message_id, stream in streams.items()
            if (row := _row(stream, batch.keys, known.get(message_id)))
        ]
        if rows:
            await connection.execute(self._at(_UPSERT), *zip(*rows, strict=True))

    async def _load(
        self, connection: Connection, streams: _Streams
    ) -> dict[UUID, _Row]:
        """The texts as they are stored, of which there is more in a batch."""
        touched = [i for i, stream in streams.items() if stream[0].event.version > 1]
        if not touched:
            return {}
        rows = await connection.fetch(self._at(_READ), touched)
        return {row[0]: _Row(*row) for row in rows}

    def rows_of(self, person: Person) -> Iterable[Sequence[Row]]:
        """The text whose stream this is, if it is one."""
        stream = person.events
        if not (stream and isinstance(stream[0].event, MessageEvent) and person.key):
            return ((),)
        row = _row(stream, {stream[0].event.subject_id: person.key}, None)
        return ((row,),) if row else ((),)

    def copied(
        self,
        heard: Iterable[Heard],  # noqa: ARG002
        texts: Iterable[ReceivedText],
    ) -> Sequence[bytes] | None:
        """The texts that arrived, in the columns of this shape."""
        if self.shape != Messages.shape:
            return None
        pieces: list[bytes] = []
        for message_id, key, received, _ in texts:
            position, occurred_at, recorded_at, subject_id, words, number, sid = (
                received
            )
            occurred, recorded = moments(occurred_at, recorded_at)
            pieces += (
                _IDS(14, 16, message_id.bytes, 16, subject_id.bytes),
                text(key.open_number(number, message_id, _FIRST)),
                text(key.open_text("sid", sid, message_id, _FIRST)),
                self._words.get(words) or self._kept(words),
                _REST(8, position, 8, _FIRST, 8, occurred, 8, recorded),
            )
        return (b"".join(pieces),)

    def _kept(self, words: ReceivedWords) -> bytes:
        """The columns from direction to send_at, which very many texts share."""
        if len(self._words) >= WORDS_MAX:
            self._words.clear()
        kept = self._words[words] = b"".join(
            (
                text("incoming"),
                text_or_null(words.sender),
                text_or_null(words.address),
                text("received"),
                NULL,
                NULL,
            )
        )
        return kept


def _streams(batch: Batch) -> _Streams:
    """The texts of a batch but those of who is erased in it, in the order of the key.

    So two workers that write the same ones lock them in one order.
    """
    streams: dict[MessageId, list[RecordedEvent]] = {}
    for recorded in batch.others:
        event = recorded.event
        if isinstance(event, MessageEvent) and event.counterparty not in batch.erased:
            streams.setdefault(event.message_id, []).append(recorded)
    return {message_id: streams[message_id] for message_id in sorted(streams)}


def _row(
    stream: Sequence[RecordedEvent],
    keys: Mapping[UUID, SubjectKey],
    known: _Row | None,
) -> _Row | None:
    """A text's row; None where its person was erased."""
    first, newest = stream[0], stream[-1].event
    key = keys.get(first.event.subject_id)
    if known is None and (key is None or first.event.version > 1):
        return None
    number = known.phone_number if known else _opened(first.event, "phone_number", key)
    if number is None:
        return None
    message = _message(known) if known else unwritten(MessageId(newest.stream_id))
    for _, event in stream:
        message = fold(message, event)
    sids = (_opened(event, "sid", key) for _, event in reversed(stream))
    return _Row(
        message_id=newest.stream_id,
        subject_id=first.event.subject_id,
        phone_number=number,
        sid=next(filter(None, sids), known and known.sid),
        direction=message.direction,
        sender=message.sender,
        address=message.address,
        status=message.status,
        error_code=message.error_code,
        send_at=message.send_at,
        position=known.position if known else first.position,
        version=newest.version,
        occurred_at=known.occurred_at if known else first.event.occurred_at,
        updated_at=newest.recorded_at,
    )


def _message(row: _Row) -> Message:
    return Message(
        id=MessageId(row.message_id),
        version=row.version,
        counterparty=SubjectId(row.subject_id),
        direction="incoming" if row.direction == "incoming" else "outgoing",
        sender=row.sender,  # type: ignore[arg-type]
        address=row.address,
        status=row.status,
        error_code=row.error_code,
        send_at=row.send_at,
    )


def _opened(event: LedgerEvent, name: str, key: SubjectKey | None) -> str | None:
    sealed = getattr(event, name, None)
    if sealed is None or key is None:
        return None
    return key.open_text(name, Sealed(sealed), event.stream_id, event.version)
