"""Laws of exports: cells give back what was recorded, and days are found by halving."""

import asyncio
import csv
import io
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from builders import consent_changed
from hypothesis import given
from hypothesis import strategies as st

from ledger.domain.ids import Position, SubjectId
from ledger.export.rows import csv_rows
from ledger.span import last_before
from ledger.store.codec import RecordedEvent

DAY: Final = datetime(2026, 1, 1, tzinfo=UTC)
TEXT: Final = st.text(st.characters(codec="utf-8", exclude_characters="\0"))


@given(st.one_of(TEXT, st.tuples(st.sampled_from("=+-@'\t\r\n"), TEXT).map("".join)))
def test_a_cell_gives_back_its_text(value: str) -> None:
    """One apostrophe less, where there is one, is what was recorded; none is run."""
    row = csv_rows(["sender"], [{"sender": value}]).decode()
    cell = next(csv.reader(io.StringIO(row, newline="")), [""])[0]
    assert cell.removeprefix("'") == value
    assert not cell.startswith(("=", "-", "@", "\t", "\r", "\n"))


@given(st.lists(st.integers(0, 20)), st.integers(-1, 21))
def test_the_last_before_a_time_is_found(seconds: list[int], wanted: int) -> None:
    """As a scan of everything would find it."""
    times = [DAY + timedelta(seconds=second) for second in sorted(seconds)]
    time = DAY + timedelta(seconds=wanted)
    found = asyncio.run(last_before(_Recorded(times), time))
    assert found == sum(one < time for one in times)


class _Recorded:
    """As much of an event store as is asked."""

    def __init__(self, times: list[datetime]) -> None:
        self._times = times

    async def last_position(self) -> Position:
        return Position(len(self._times))

    async def read_after(self, position: Position, limit: int) -> list[RecordedEvent]:
        return [
            RecordedEvent(Position(place), _event(time))
            for place, time in enumerate(self._times, start=1)
        ][position : position + limit]

    def __getattr__(self, name: str) -> Any:
        raise NotImplementedError(name)


def _event(time: datetime) -> Any:
    return consent_changed(SubjectId(UUID(int=1)), timestamp=time)
