"""Where each channel stands, as its checkpoint says.

Never moves one. Apart from what follows the ledger, which counts: the command line
shows this, and must not bring the library of metrics into a service that it starts.
"""

from collections.abc import Collection
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
    is_set: bool
    """Whether changes are told to it; else the lag grows and means nothing."""


async def read_channels(
    connection: Pool | Connection, is_set: Collection[str]
) -> list[ChannelStatus]:
    """Where every channel stands that was ever started.

    ``is_set`` are those that are so in the caller's settings.

    Raises:
        StoreUnavailable: the database cannot be read now.
    """
    with translated():
        rows = await connection.fetch(_READ_ALL, [*is_set])
    return [ChannelStatus(*row) for row in rows]
