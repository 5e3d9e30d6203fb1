"""Every event of every number, in order, with both times.

Never holds evidence: personal data is kept once, in the event, and the API reads it
there for auditors.
"""

from collections.abc import Sequence
from typing import Final

from ledger.store.codec import RecordedEvent
from ledger.store.database import Connection
from ledger.store.statements import statement

_TABLE = statement("projections.consent_history", "table")
_COLUMNS: Final = (
    "phone_number",
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

    async def create(self, connection: Connection) -> None:
        """Make the table."""
        await connection.execute(_TABLE)

    async def create_indexes(self, connection: Connection) -> None:
        """There are none but the key."""

    async def drop_indexes(self, connection: Connection) -> None:
        """There are none but the key."""

    async def apply(
        self, connection: Connection, events: Sequence[RecordedEvent]
    ) -> None:
        """Add a row an event.

        By COPY: an INSERT of arrays costs asyncpg a look at the type of every value.
        """
        rows = [
            (
                event.phone_number,
                position,
                event.version,
                event.sender,
                event.status,
                event.previous_status,
                event.occurred_at,
                event.recorded_at,
                event.source,
                event.matched_by,
                event.actor,
            )
            for position, event in events
        ]
        await connection.copy_records_to_table(
            "consent_history_v1", records=rows, columns=_COLUMNS
        )
