"""Reads the tables that the projections fill.

Never writes and never computes a status other than by the domain's rules. The subtle
part is grouping: records asked for at the same moment are read in one query, which on a
busy service is several times cheaper than one by one.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from types import TracebackType
from typing import Self

from ledger.api.models import (
    HistoryEvent,
    PhoneNumberRecord,
    ProjectionState,
    SenderStatus,
)
from ledger.domain.ids import PhoneNumber, Position, Status
from ledger.errors import NotYetProjected
from ledger.settings import Settings
from ledger.store.batcher import Batcher
from ledger.store.database import Pool, translated
from ledger.store.statements import statement
from ledger.store.subscription import Doorbell

_FIND_NUMBERS = statement("ledger.api", "find_numbers")
_READ_HISTORY = statement("ledger.api", "read_history")
_READ_PROJECTIONS = statement("ledger.api", "read_projections")

RUNNING_SECONDS_MAX = 15.0
"""A projection whose worker has been silent for longer is not running."""

_READS_AT_ONCE = 2
_READ_BATCH_MAX = 500
_READS_WAITING_MAX = 10_000


class ReadModel:
    """The current-status table and the history. Use as ``async with``."""

    def __init__(self, pool: Pool, bell: Doorbell, settings: Settings) -> None:
        self._pool = pool
        self._bell = bell
        self._wait_seconds_max = settings.wait_seconds_max
        self._finder: Batcher[PhoneNumber, PhoneNumberRecord | None] = Batcher(
            self._find,
            batch_max=_READ_BATCH_MAX,
            queue_max=_READS_WAITING_MAX,
            timeout_seconds=settings.statement_timeout_seconds,
            at_once=_READS_AT_ONCE,
        )

    async def __aenter__(self) -> Self:
        """Start answering."""
        await self._finder.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Answer what was asked, then stop."""
        await self._finder.__aexit__(kind, error, trace)

    async def find(self, phone_number: PhoneNumber) -> PhoneNumberRecord | None:
        """What a number says now; None if it was never seen."""
        return await self._finder.submit(phone_number)

    async def history(
        self, phone_number: PhoneNumber, *, after: Position, limit: int
    ) -> list[HistoryEvent]:
        """Events of a number, oldest first, after a position."""
        with translated():
            rows = await self._pool.fetch(_READ_HISTORY, phone_number, after, limit)
        return [HistoryEvent.model_construct(**row) for row in rows]

    async def projections(self) -> tuple[Position, list[ProjectionState]]:
        """The ledger's position, and where each projection stands."""
        with translated():
            rows = await self._pool.fetch(_READ_PROJECTIONS)
        states = [_state(*row) for row in rows if row["name"] is not None]
        return Position(rows[0]["ledger_position"]), states

    async def wait_for(self, position: Position, projection: str) -> None:
        """Return once ``projection`` has reached ``position``.

        Raises:
            NotYetProjected: it has not within LEDGER_WAIT_SECONDS_MAX.
        """
        try:
            async with asyncio.timeout(self._wait_seconds_max):
                rung = self._bell.count
                while await self._reached(projection) < position:
                    await self._bell.wait_after(rung)
                    rung = self._bell.count
        except TimeoutError:
            message = f"{projection} has not reached position {position}"
            raise NotYetProjected(message) from None

    async def _reached(self, projection: str) -> Position:
        _, states = await self.projections()
        reached = (s.position for s in states if s.name == projection)
        return Position(next(reached, 0))

    async def _find(
        self, numbers: Sequence[PhoneNumber]
    ) -> list[PhoneNumberRecord | None]:
        with translated():
            rows = await self._pool.fetch(_FIND_NUMBERS, list(set(numbers)))
        records: dict[str, PhoneNumberRecord] = {}
        for row in rows:
            number, status, since, position, version, *sender = row
            record = records.get(number)
            if record is None:
                record = records[number] = PhoneNumberRecord.model_construct(
                    phone_number=number,
                    status=status,
                    since=since,
                    position=position,
                    version=version,
                    senders=[],
                )
            record.senders.append(_sender(*sender))
        return [records.get(number) for number in numbers]


def _sender(
    sender: str, status: Status, since: datetime, position: int
) -> SenderStatus:
    return SenderStatus.model_construct(
        sender=sender, status=status, since=since, position=position
    )


def _state(  # noqa: PLR0913, PLR0917 - the columns of its row
    ledger_position: int,
    name: str,
    version: int,
    position: int,
    stopped_reason: str | None,
    idle_seconds: float,
) -> ProjectionState:
    return ProjectionState(
        name=name,
        version=version,
        position=position,
        lag_events=max(0, ledger_position - position),
        running=stopped_reason is None and idle_seconds <= RUNNING_SECONDS_MAX,
        stopped_reason=stopped_reason,
    )
