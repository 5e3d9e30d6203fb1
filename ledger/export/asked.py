"""Which events are asked for, and which those are.

Dates are days in UTC, by recorded at: what the ledger knew. Never reads all of the
ledger to find one.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Literal

from ledger.domain.ids import Position, typed_number
from ledger.errors import InvalidRequest, NotFound
from ledger.generations import generations_of
from ledger.span import BATCH_MAX, Span, last_before
from ledger.store.codec import RecordedEvent
from ledger.store.event_store import EventStore
from ledger.store.keyring import Keyring

Format = Literal["ndjson", "csv", "parquet"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What an export is to have."""

    format: Format
    number: str | None = None
    first_day: date | None = None
    last_day: date | None = None
    after: Position | None = None
    until: Position | None = None
    without_personal: bool = False

    def __post_init__(self) -> None:
        if self.number is not None and self.without_personal:
            raise InvalidRequest("whoever asks for one number knows whose it is")
        days = self.first_day, self.last_day
        if days[0] and days[1] and days[0] > days[1]:
            raise InvalidRequest("it would end before it begins: the days are swapped")
        if self.until is not None and self.until < (self.after or 0):
            raise InvalidRequest("it would end before it begins: after is past until")

    def shown(self) -> dict[str, Any]:
        """What was asked, for the manifest; what was not asked is null."""
        number = self.number and typed_number(self.number)
        return {
            "number": number,
            "from": self.first_day and self.first_day.isoformat(),
            "to": self.last_day and self.last_day.isoformat(),
            "after": self.after,
            "until": self.until,
            "withoutPersonal": self.without_personal,
        }

    async def span(self, store: EventStore) -> Span:
        """The part of the ledger that is asked for, of what there is now.

        Raises:
            PositionMissing, UnknownEvent, StoreUnavailable: as ``last_before``.
        """
        after, until = self.after or Position(0), await store.last_position()
        if self.until is not None:
            until = min(until, self.until)
        if self.first_day is not None:
            begin = _start_of(self.first_day)
            after = max(after, await last_before(store, begin))
        if self.last_day is not None:
            end = _start_of(self.last_day + timedelta(days=1))
            until = min(until, await last_before(store, end))
        return Span(after, max(after, until))


async def batches(
    store: EventStore, keyring: Keyring, number: str | None, span: Span
) -> AsyncIterator[list[RecordedEvent]]:
    """The events of a part of the ledger, of all or of one number, in batches.

    Raises:
        NotFound: the number was never seen.
        PositionMissing, UnknownEvent, StoreUnavailable: as ``Span.next_batch``.
    """
    if number is not None:
        events = await _of_number(store, keyring, number, span)
        for start in range(0, len(events), BATCH_MAX):
            yield events[start : start + BATCH_MAX]
        return
    while recorded := await span.next_batch(store):
        yield recorded
        span = span.rest(recorded[-1].position)


async def _of_number(
    store: EventStore, keyring: Keyring, number: str, span: Span
) -> list[RecordedEvent]:
    # A person's history is short: it is folded in memory wherever it is needed.
    known = await generations_of(store, keyring, typed_number(number), span.until)
    if not known:
        raise NotFound("this number was never seen")
    events = sorted(event for one in known for event in one.everything)
    return [event for event in events if event.position > span.after]


def _start_of(day: date) -> datetime:
    return datetime.combine(day, time.min, UTC)
