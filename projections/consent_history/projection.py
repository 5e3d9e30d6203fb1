"""Every consent event of every subject, and every lapse, in order, with both times.

Never holds a number or evidence: personal data is kept once, sealed, in the event, and
the API opens it there for auditors.
"""

from collections.abc import Collection, Iterable, Sequence
from struct import Struct
from typing import Final

from ledger.domain.consent import fact_of
from ledger.domain.events import ConsentChanged, ConsentLapsed
from ledger.domain.ids import Position, SubjectId
from ledger.store.codec import RecordedEvent
from ledger.store.database import Connection
from ledger.store.said import WORDS_MAX, Words
from ledger.store.statements import at_versions, between, statement
from projections.copying import copy_rows, moments, text
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

_TABLE = statement("projections.consent_history", "table")
_CREATE_INDEXES = statement("projections.consent_history", "create_indexes")
_DROP_INDEXES = statement("projections.consent_history", "drop_indexes")
_DROP = statement("projections.consent_history", "drop_tables")
_DROP_FUNCTION = statement("projections.consent_history", "drop_function")
_COMPARE = statement("projections.consent_history", "compare_versions")
_COMPARE_SUBJECTS = statement("projections.consent_history", "compare_subjects")
_ERASE = statement("projections.consent_history", "erase_subjects")
_READ_SLICE = statement("projections.consent_history", "read_slice")
_COLUMNS: Final = (
    "subject_id",
    "position",
    "version",
    "sender",
    "status",
    "previous_status",
    "occurred_at",
    "recorded_at",
    "source",
    "matched_by",
    "actor",
)

_HEAD: Final = Struct(">hi16siqiq").pack
_TIMES: Final = Struct(">iqiq").pack
_TABLES: Final = (Table("consent_history_v1", _COLUMNS, 2, _READ_SLICE),)


class ConsentHistory:
    """See ``projections.projection.Projection``."""

    name = "consent_history"
    shape = 1
    holds_numbers = False
    holds_texts = False
    says_consent = True

    def __init__(self, version: int = 1) -> None:
        self.version = version
        self.tables = tuple(table.at(self.name, version) for table in _TABLES)
        self._words: dict[Words, tuple[bytes, bytes]] = {}

    def _at(self, text: str) -> str:
        return at_versions(text, ((self.name, self.version),))

    async def create(self, connection: Connection) -> None:
        """Make the table and what erases from it."""
        await connection.execute(self._at(_TABLE))

    async def drop(self, connection: Connection) -> None:
        """Drop the tables, and what erases from them."""
        await connection.execute(self._at(_DROP))
        await connection.execute(self._at(_DROP_FUNCTION))

    async def changes(
        self,
        connection: Connection,
        serving: int,
        examples: int,
        subjects: Collection[SubjectId] | None = None,
        *,
        until: Position | None = None,
    ) -> list[Change]:
        """What this version says otherwise than the one that serves."""
        if subjects is None:
            text = between(_COMPARE, serving, self.version)
            rows = await connection.fetch(
                text, examples, until, timeout=INDEX_SECONDS_MAX
            )
        else:
            text = between(_COMPARE_SUBJECTS, serving, self.version)
            rows = await connection.fetch(text, examples, list(subjects))
        return [Change(*row) for row in rows]

    async def create_indexes(self, connection: Connection) -> None:
        """Make the index of questions about the past."""
        await connection.execute(self._at(_CREATE_INDEXES), timeout=INDEX_SECONDS_MAX)

    async def drop_indexes(self, connection: Connection) -> None:
        """Leave only the key, by which a history is read."""
        await connection.execute(self._at(_DROP_INDEXES))

    async def apply(self, connection: Connection, batch: Batch) -> None:
        """Add a row for each such event, but of who is erased in the same batch.

        By COPY: an INSERT of arrays costs asyncpg a look at the type of every value.
        """
        copied = self.copied(batch.heard, batch.texts)
        if copied is None:
            copied, batch = (), batch.decoded()
        for table, of_heard in zip(self.tables, copied, strict=False):
            await copy_rows(connection, table.name, _COLUMNS, of_heard)
        rows = [
            row
            for recorded in batch.others
            if recorded.event.originator_id not in batch.erased
            and (row := _row(recorded))
        ]
        if rows:
            await connection.copy_records_to_table(
                f"consent_history_v{self.version}", records=rows, columns=_COLUMNS
            )
        if batch.erased:
            await connection.execute(self._at(_ERASE), list(batch.erased))

    def rows_of(self, person: Person) -> Iterable[Sequence[Row]]:
        """Everything that somebody said."""
        return ([row for recorded in person.events if (row := _row(recorded))],)

    def copied(
        self,
        heard: Iterable[Heard],
        texts: Iterable[ReceivedText],  # noqa: ARG002
    ) -> Sequence[bytes] | None:
        """Everything that they said, in the columns of this shape."""
        if self.shape != ConsentHistory.shape:
            return None
        pieces: list[bytes] = []
        for subject_id, _, said, _ in heard:
            stored_id = subject_id.bytes
            for position, version, occurred_at, recorded_at, words, _ in said:
                occurred, recorded = moments(occurred_at, recorded_at)
                before, after = self._words.get(words) or self._kept(words)
                pieces += (
                    _HEAD(11, 16, stored_id, 8, position, 8, version),
                    before,
                    _TIMES(8, occurred, 8, recorded),
                    after,
                )
        return (b"".join(pieces),)

    def _kept(self, words: Words) -> tuple[bytes, bytes]:
        """The columns before and after the times, which very many events share."""
        before = text(words.sender) + text(words.status) + text(words.previous_status)
        after = text(words.source) + text(words.matched_by) + text(words.actor)
        if len(self._words) >= WORDS_MAX:
            self._words.clear()
        kept = self._words[words] = before, after
        return kept


def _row(recorded: RecordedEvent) -> Row | None:
    """A consent, or a lapse, which was said to no sender; None of anything else."""
    position, event = recorded
    if not isinstance(event, ConsentChanged | ConsentLapsed):
        return None
    sender, (_, _, status) = fact_of(event)
    return (
        event.originator_id,
        position,
        event.originator_version,
        sender,
        status,
        event.previous_status,
        event.occurred_at,
        event.timestamp,
        event.source,
        event.matched_by,
        event.actor,
    )
