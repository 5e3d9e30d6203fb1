"""Where each channel stands, as its checkpoint says.

Never moves one. Apart from what follows the ledger, which counts: the command line
shows this, and must not bring the library of metrics into a service that it starts.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from ledger.store.database import Connection, Pool, translated
from ledger.store.statements import statement

_READ_ALL: Final = statement("ledger.notifying", "read_channels")


@dataclass(frozen=True, slots=True)
class ChannelStatus:
    """Where a channel stands."""

    channel: str
    position: int
    lag_events: int
    failing_since: datetime | None
    failed_reason: str | None


async def read_channels(connection: Pool | Connection) -> list[ChannelStatus]:
    """Where every channel stands that was ever started.

    Raises:
        StoreUnavailable: the database cannot be read now.
    """
    with translated():
        rows = await connection.fetch(_READ_ALL)
    return [ChannelStatus(*row) for row in rows]
