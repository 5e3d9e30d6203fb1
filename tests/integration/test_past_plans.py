"""What held at a time is found by as many steps of an index as there are senders.

Whatever a history's length and what the planner knows of the table. So one number here
has thousands of events of the kind that would be read through: told in by one sender
for days, after a STOP to another, and recorded after the time that is asked for.
"""

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import Any
from uuid import UUID, uuid4

import pytest

from ledger.store.database import Connection

SQL = files("ledger.api").joinpath("sql")
FIND_AS_OF = SQL.joinpath("find_as_of.sql").read_text()
FIND_CHECKED = SQL.joinpath("find_checked_as_of.sql").read_text()
FIND_CHECKED_BY_STEPS = SQL.joinpath("find_checked_by_steps.sql").read_text()
BEGIN = datetime(2024, 1, 1, tzinfo=UTC)
LONG = 5_000
SENDERS = ("MG1", "MG2", "*")
STEPS_MAX = 5
"""Of each sender: that it is there, what held, what came next; and some find none."""


@pytest.fixture(params=["nothing is known", "analysed"])
async def subject(request: pytest.FixtureRequest, connection: Connection) -> UUID:
    """Of all in the table, the one with thousands of events."""
    off = "ALTER TABLE consent_history_v1 SET (autovacuum_enabled = false)"
    await connection.execute(off)
    long = uuid4()
    rows = [_row(uuid4(), n, "MG1", "out", n) for n in range(1, 2_001)]
    rows += [_row(long, 10_000, "MG1", "out", 0), _row(long, 10_001, "*", "in", -1)]
    rows += [_row(long, 10_001 + n, "MG2", "in", n) for n in range(1, LONG)]
    await connection.copy_records_to_table("consent_history_v1", records=rows)
    if request.param == "analysed":
        await connection.execute("ANALYZE")
    return long


@pytest.mark.parametrize("minutes", [-5, 17, 2 * LONG])
async def test_a_time_costs_a_step_of_the_index_for_each_sender(
    connection: Connection, subject: UUID, minutes: int
) -> None:
    """Early in a long history, in the middle of it, or after its end."""
    nodes = await explained(connection, FIND_AS_OF, subject, minutes, None)
    assert rows_touched(nodes) <= STEPS_MAX * len(SENDERS)


@pytest.mark.parametrize("minutes", [17, 2 * LONG])
async def test_what_was_recorded_later_is_not_read_through(
    connection: Connection, subject: UUID, minutes: int
) -> None:
    """What happened since was not known, and there are thousands of it."""
    nodes = await explained(connection, FIND_AS_OF, subject, minutes, 20)
    assert rows_touched(nodes) <= STEPS_MAX * len(SENDERS)


@pytest.mark.parametrize("minutes", [-5, 17, 2 * LONG])
async def test_a_list_reads_so_much_of_each_number_and_no_more(
    connection: Connection, subject: UUID, minutes: int
) -> None:
    """33 events, and then steps of the index if that was not all of them."""
    at = f"'{BEGIN + timedelta(minutes=minutes)}'"
    asked = (f"'{{{subject}}}'", at, at, "100000")
    assert rows_touched(await scanned(connection, FIND_CHECKED, asked)) == 33
    nodes = await scanned(connection, FIND_CHECKED_BY_STEPS, asked)
    assert rows_touched(nodes) <= STEPS_MAX * len(SENDERS)


def _row(subject: UUID, position: int, sender: str, status: str, minutes: int) -> Any:
    at = BEGIN + timedelta(minutes=minutes)
    how = ("import", "explicit", "cli")
    return (subject, position, position, sender, status, "unknown", at, at, *how)


async def explained(
    connection: Connection, statement: str, subject: UUID, as_of: int, known: int | None
) -> list[dict[str, Any]]:
    """The scans of a question about one number."""
    moments = [BEGIN + timedelta(minutes=each) for each in (as_of, known or as_of)]
    literals = [f"'{{{subject}}}'", *(f"'{{{each.isoformat()}}}'" for each in moments)]
    if known is None:
        literals[2] = "'{null}'"
    return await scanned(connection, statement, literals)


async def scanned(
    connection: Connection, statement: str, literals: Iterable[str]
) -> list[dict[str, Any]]:
    """The scans of the history, as the plan for all arguments runs with these."""
    # As in every session of ours.
    await connection.execute("SET plan_cache_mode = force_generic_plan")
    await connection.execute("SET random_page_cost = 1.1")
    await connection.execute(f"PREPARE asked AS {statement}")
    plan = await connection.fetchval(
        "EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) "
        f"EXECUTE asked ({', '.join(literals)})"
    )
    await connection.execute("DEALLOCATE asked")
    nodes = list(walk(json.loads(plan)[0]["Plan"]))
    history = [n for n in nodes if n.get("Relation Name") == "consent_history_v1"]
    assert history
    assert {n["Node Type"] for n in history} <= {"Index Scan", "Index Only Scan"}
    return history


def walk(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A plan's nodes."""
    yield node
    for below in node.get("Plans", ()):
        yield from walk(below)


def rows_touched(nodes: list[dict[str, Any]]) -> float:
    """How many rows were read, and read for nothing."""
    return float(sum(_rows(node) * node["Actual Loops"] for node in nodes))


def _rows(node: dict[str, Any]) -> float:
    removed = node.get("Rows Removed by Filter", 0)
    return float(node["Actual Rows"]) + float(removed)
