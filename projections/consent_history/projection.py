"""Every consent event of every subject, in order, with both times.

Never holds a number or evidence: personal data is kept once, sealed, in the event, and
the API opens it there for auditors.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from ledger.domain.events import ConsentChanged
from ledger.store.database import Connection
from ledger.store.statements import statement
from projections.projection import INDEX_SECONDS_MAX, Batch, Person, Row, Table

_TABLE = statement("projections.consent_history", "table")
_CREATE_INDEXES = statement("projections.consent_history", "create_indexes")
_DROP_INDEXES = statement("projections.consent_history", "drop_indexes")
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


class ConsentHistory:
    """See ``projections.projection.Projection``."""

    name = "consent_history"
    version = 1
    holds_numbers = False
    tables: tuple[Table, ...] = (Table("consent_history_v1", _COLUMNS, 2, _READ_SLICE),)

    async def create(self, connection: Connection) -> None:
        """Make the table and what erases from it."""
        await connection.execute(_TABLE)
        await self.create_indexes(connection)

    async def create_indexes(self, connection: Connection) -> None:
        """Make the index of questions about the past."""
        await connection.execute(_CREATE_INDEXES, timeout=INDEX_SECONDS_MAX)

    async def drop_indexes(self, connection: Connection) -> None:
        """Leave only the key, by which a history is read."""
        await connection.execute(_DROP_INDEXES)

    async def apply(self, connection: Connection, batch: Batch) -> None:
        """Add a row for each consent event, but of who is erased in the same batch.

        By COPY: an INSERT of arrays costs asyncpg a look at the type of every value.
        """
        rows = [
            (
                event.originator_id,
                position,
                event.originator_version,
                event.sender,
                event.status,
                event.previous_status,
                event.occurred_at,
                event.timestamp,
                event.source,
                event.matched_by,
                event.actor,
            )
            for position, event in batch.events
            if isinstance(event, ConsentChanged)
            and event.originator_id not in batch.erased
        ]
        await connection.copy_records_to_table(
            "consent_history_v1", records=rows, columns=_COLUMNS
        )
        if batch.erased:
            await connection.execute(_ERASE, list(batch.erased))

    def rows_of(self, person: Person) -> Iterable[Sequence[Row]]:
        """Everything that somebody said."""
        said: list[Row] = [
            (
                event.originator_id,
                position,
                event.originator_version,
                event.sender,
                event.status,
                event.previous_status,
                event.occurred_at,
                event.timestamp,
                event.source,
                event.matched_by,
                event.actor,
            )
            for position, event in person.events
            if isinstance(event, ConsentChanged)
        ]
        return (said,)
