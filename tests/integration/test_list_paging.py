"""Laws of paging: nothing is lost and nothing comes twice."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal, TypeAlias
from urllib.parse import quote

import pytest
from builders import bearer
from conftest import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from list_rows import NumberRow, SenderRow, at, put_numbers, put_senders
from yarl import URL

from ledger.domain.ids import Answer
from ledger.store.database import Connection

Key = Literal["phoneNumber", "since", "position"]
Value: TypeAlias = str | int | datetime

FIELDS: dict[Key, str] = {
    "phoneNumber": "phone_number",
    "since": "since",
    "position": "position",
}
STATUSES: list[Answer] = ["in", "out", "unknown"]
OPERATORS = ["=", "=gt=", "=ge=", "=lt=", "=le="]
NUMBERS = [
    *(f"+1415555{i:04}" for i in range(8)),
    *("+1", "+14", "+14!", "72345", "é", "\U0001f4f1", "a b&c"),
]
PAGES_MAX = 100
statuses = st.sampled_from(STATUSES)
numbers = st.sampled_from(NUMBERS)
minutes = st.integers(0, 3).map(at)  # few, so that there are ties


@st.composite
def tables(draw: st.DrawFn) -> list[NumberRow]:
    """Rows of different numbers; the later a position, the later it was recorded."""
    chosen = draw(st.lists(numbers, unique=True, max_size=len(NUMBERS)))
    return [
        NumberRow(number, draw(statuses), draw(minutes), 2 * i, 1, at(i // 3))
        for i, number in enumerate(chosen, start=1)
    ]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A list, of which the query string and the answer are made apart."""

    key: Key
    descending: bool
    by_status: str = ""
    status: Answer | None = None
    bounds: list[tuple[str, Value]] = field(default_factory=list)
    excluded: list[str] = field(default_factory=list)
    updated_since: datetime | None = None
    sender: str | None = None
    start: int = 0
    limit: int = 3

    def raw(self) -> str:
        """What a client sends."""
        sign = "-" if self.descending else "+"
        keys = [f"{self.by_status}status"] if self.by_status else []
        parts = [f"sort({','.join([*keys, f'{sign}{self.key}'])})"]
        parts += [f"{self.key}{op}{_sent(value)}" for op, value in self.bounds]
        parts += [f"phoneNumber!={_sent(number)}" for number in self.excluded]
        parts += [f"status={self.status}"] if self.status else []
        parts += [f"sender={self.sender}"] if self.sender else []
        if self.updated_since:
            parts.append(f"updatedSince={_sent(self.updated_since)}")
        return "&".join([*parts, f"limit({self.start},{self.start + self.limit})"])

    def of(self, rows: list[NumberRow]) -> list[str]:
        """What there is to see, by looking at every row."""
        kept = sorted(filter(self._has, rows), key=self._place, reverse=self.descending)
        if self.by_status:
            kept.sort(key=lambda row: row.status, reverse=self.by_status == "-")
        return [row.phone_number for row in kept][self.start :]

    def _place(self, row: NumberRow) -> tuple[Value, str]:
        return self._value(row), row.phone_number

    def _value(self, row: NumberRow) -> Value:
        value: Value = getattr(row, FIELDS[self.key])
        return value

    def _has(self, row: NumberRow) -> bool:
        return (
            self.status in (None, row.status)
            and all(_holds(self._value(row), op, value) for op, value in self.bounds)
            and row.phone_number not in self.excluded
            and (self.updated_since is None or row.updated_at >= self.updated_since)
        )


def _sent(value: Value) -> str:
    text = value.isoformat() if isinstance(value, datetime) else str(value)
    return quote(text, safe="")


def _holds(value: Value, operator: str, other: Value) -> bool:
    order = (value > other) - (value < other)  # type: ignore[operator]
    return {
        "=": order == 0,
        "=gt=": order > 0,
        "=ge=": order >= 0,
        "=lt=": order < 0,
        "=le=": order <= 0,
    }[operator]


@st.composite
def lists(draw: st.DrawFn) -> Wanted:
    """Any list that an index serves."""
    sender = draw(st.sampled_from([None, None, "MG1"]))
    key: Key = draw(st.sampled_from(list(FIELDS))) if not sender else "phoneNumber"
    values: dict[Key, st.SearchStrategy[Value]] = {
        "phoneNumber": numbers,
        "since": minutes,
        "position": st.integers(0, 30),
    }
    bounds = st.lists(st.tuples(st.sampled_from(OPERATORS), values[key]), max_size=2)
    since = draw(st.none() | minutes) if key == "position" else None
    return Wanted(
        key=key,
        descending=draw(st.booleans()),
        by_status=draw(st.sampled_from(["", "", "+", "-"])),
        status=draw(st.none() | statuses),
        bounds=[] if since else draw(bounds),
        excluded=draw(st.lists(numbers, max_size=2)),
        updated_since=since,
        sender=sender,
        start=draw(st.sampled_from([0, 0, 1, 4])),
        limit=draw(st.integers(1, 4)),
    )


in_one_database = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    deadline=None,
    max_examples=150,
)


@in_one_database
@given(tables(), lists())
async def test_pages_are_the_list(
    client: Client, connection: Connection, rows: list[NumberRow], wanted: Wanted
) -> None:
    """All pages together are what filtering and sorting every row gives."""
    await replace_all(connection, rows, wanted.sender)
    seen = [n async for page in pages(client, wanted) for n in page]
    assert seen == wanted.of(rows)


@in_one_database
@given(tables(), lists(), st.data())
async def test_pages_lose_nothing_while_other_numbers_change(
    client: Client,
    connection: Connection,
    rows: list[NumberRow],
    wanted: Wanted,
    data: st.DataObject,
) -> None:
    """A number that stays as it is comes exactly once, whatever others do meanwhile."""
    wanted = replace(wanted, start=0, sender=None)
    await replace_all(connection, rows, None)
    changed = data.draw(st.sets(numbers, max_size=4))
    position, seen = 100, list[str]()
    async for page in pages(client, wanted):
        seen += page
        position += 1
        if changed:
            number = data.draw(st.sampled_from(sorted(changed)))
            row = NumberRow(
                number, data.draw(statuses), at(position), position, 2, at(position)
            )
            await put_numbers(connection, [row])
    stayed = [number for number in wanted.of(rows) if number not in changed]
    assert [number for number in seen if number not in changed] == stayed


async def replace_all(
    connection: Connection, rows: list[NumberRow], sender: str | None
) -> None:
    """Let the tables have these rows alone; another sender says the opposite."""
    await connection.execute("DELETE FROM phone_numbers_v1")
    await connection.execute("DELETE FROM phone_number_senders_v1")
    await put_numbers(connection, rows)
    if sender:
        said = [(r, sender, r.status) for r in rows]
        said += [(r, "MG0", "in" if r.status == "out" else "out") for r in rows]
        await put_senders(
            connection,
            [
                SenderRow(r.phone_number, s, status, r.since, r.position, r.version)
                for r, s, status in said
            ],
        )


async def pages(client: Client, wanted: Wanted) -> AsyncIterator[list[str]]:
    """The numbers of each page, by following the links; none is longer than asked."""
    following: str | None = f"/PhoneNumbers/?{wanted.raw()}"
    for _ in range(PAGES_MAX):
        if not following:
            return
        response = await client.get(URL(following, encoded=True), headers=bearer())
        assert response.status == 200, await response.text()
        records = await response.json()
        assert len(records) <= wanted.limit
        yield [record["phoneNumber"] for record in records]
        link = response.headers.get("Link")
        assert link is None or len(records) == wanted.limit
        following = link[1:].partition(">")[0] if link else None
    pytest.fail("paging does not come to an end")
