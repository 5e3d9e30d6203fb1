"""Each list is a range of an index, whatever the planner has been told of the table."""

import itertools
import json
from collections.abc import Iterator
from datetime import datetime
from importlib.resources import files
from typing import Any

import pytest
from list_rows import fill, fill_senders

from ledger.api.lists import list_call
from ledger.api.query import parse_query
from ledger.store.database import Connection

FIRST_UPDATE = files("ledger.api").joinpath("sql", "find_first_update.sql").read_text()
ROWS = 20_000
MIDDLE = "%2B14150010000"
TIME = "2026-01-03T00:00:00Z"
TIMES = ("2025-01-01T00:00Z", "2026-01-01T00:01Z", TIME, "2027-01-01T00:00Z")
LISTS = [
    ("", "by_status"),
    ("status=in", "by_status"),
    (f"phoneNumber=gt={MIDDLE}", "by_status"),
    (f"phoneNumber=lt={MIDDLE}&sort(-phoneNumber)", "by_status"),
    ("sort(status,phoneNumber)", "by_status"),
    ("sort(-status,-phoneNumber)", "by_status"),
    ("sort(position)", "by_position"),
    ("status=out&sort(-position)", "by_position"),
    ("position=ge=10000&position=lt=19000", "by_position"),
    ("sort(since)", "by_since"),
    ("status=out&sort(-since)", "by_since"),
    (f"since=ge={TIME}", "by_since"),
    (f"since=lt={TIME}&sort(-since)", "by_since"),
    ("sender=MG1", "by_sender"),
    (f"sender=MG2&status=out&phoneNumber=gt={MIDDLE}", "by_sender"),
    ("sender=MG1&phoneNumber=sw=%2B1415001&sort(-phoneNumber)", "by_sender"),
]
MODES = ("force_custom_plan", "force_generic_plan")
COSTS = ("1.1", "4")  # what the embedded server is set to, and PostgreSQL's default
PLANNED_ONCE = "SELECT generic_plans FROM pg_prepared_statements WHERE name = $1"
STATISTICS = [("none", 2), ("analysed", 2), ("of one status alone", ROWS + 1)]


@pytest.fixture(params=STATISTICS, ids=lambda known: known[0])
async def table(request: pytest.FixtureRequest, connection: Connection) -> Connection:
    """A table of 20,000 numbers of which the planner knows nothing, or the wrong."""
    name, in_every = request.param
    for_all = "ALTER TABLE {} SET (autovacuum_enabled = false)"
    for relation in ("phone_numbers_v1", "phone_number_senders_v1"):
        await connection.execute(for_all.format(relation))
    await fill(connection, ROWS, in_every=in_every)
    await fill_senders(connection)
    if name != "none":
        await connection.execute("ANALYZE")
    if name == "of one status alone":
        # Every other number comes in, and the planner has not heard of it.
        change = "UPDATE {} SET status = 'in' WHERE right(phone_number, 1) < '5'"
        for relation in ("phone_numbers_v1", "phone_number_senders_v1"):
            await connection.execute(change.format(relation))
    return connection


async def test_a_page_costs_as_much_as_it_has_rows(table: Connection) -> None:
    """No list sorts or scans more rows than its page has, but a few."""
    for mode, cost, limit in itertools.product(MODES, COSTS, (10, 1000)):
        await table.execute(f"SET plan_cache_mode = {mode}")
        await table.execute(f"SET random_page_cost = {cost}")
        for raw, index in LISTS:
            nodes = await explained(table, f"{raw}&limit={limit}")
            assert scans(nodes) <= {"Index Scan", "Index Only Scan"}, raw
            assert index_of(nodes[-1]).endswith(index), raw
            # One more than the page, of each status, and what says how to go on.
            assert rows_touched(nodes) <= 2 * (limit + 2), raw


async def test_the_first_update_since_a_time_is_found_by_few_rows(
    table: Connection,
) -> None:
    """Two for each halving of the positions, and it is the right one."""
    for mode, cost in itertools.product(MODES, COSTS):
        await table.execute(f"SET plan_cache_mode = {mode}")
        await table.execute(f"SET random_page_cost = {cost}")
        for since in TIMES:
            await table.execute(f"PREPARE listed AS {FIRST_UPDATE}")
            literal = f"'{since}'"
            nodes = await scanned(table, literal)
            indexes = {index_of(n) for n in nodes if "CTE Name" not in n}
            assert indexes == {"phone_numbers_v1_by_position"}, nodes
            at = datetime.fromisoformat(since)
            found = await table.fetchval(FIRST_UPDATE, at)
            right = "SELECT {} FROM phone_numbers_v1 WHERE updated_at {} $1"
            first = await table.fetchval(right.format("min(position)", ">="), at)
            last = await table.fetchval(right.format("max(position)", "<"), at)
            assert (last or -1) < found <= (first or found)
            assert rows_touched(nodes) <= 2 * 3 * 20


async def test_one_plan_serves_every_size_of_page(connection: Connection) -> None:
    """Left to itself, PostgreSQL soon plans a list no more."""
    await fill(connection, ROWS)
    await fill_senders(connection)
    for raw, _ in LISTS:
        statement, arguments = list_call(parse_query(raw))
        prepared = await connection.prepare(statement)
        for _ in range(8):
            await prepared.fetch(*arguments)
        generic = await connection.fetchval(PLANNED_ONCE, prepared.get_name())
        assert generic > 0, raw


async def explained(connection: Connection, raw: str) -> list[dict[str, Any]]:
    """The scans of a list's plan, as it was run; the list's own is the last."""
    statement, arguments = list_call(parse_query(raw))
    await connection.execute(f"PREPARE listed AS {statement}")
    literals = ", ".join([await quoted(connection, value) for value in arguments])
    return await scanned(connection, literals)


async def scanned(connection: Connection, literals: str) -> list[dict[str, Any]]:
    """The scans of the prepared statement's plan, which is forgotten then."""
    plan = await connection.fetchval(
        f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) EXECUTE listed ({literals})"
    )
    await connection.execute("DEALLOCATE listed")
    return [n for n in walk(json.loads(plan)[0]["Plan"]) if "Relation Name" in n]


async def quoted(connection: Connection, value: object) -> str:
    """An argument as PostgreSQL writes it."""
    if isinstance(value, list):
        assert not value
        return "'{}'"
    if value is None or isinstance(value, bool | int):
        return str(value) if value is not None else "NULL"
    return str(await connection.fetchval("SELECT quote_literal($1)", str(value)))


def walk(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A plan's nodes, in order of execution."""
    yield node
    for below in node.get("Plans", ()):
        yield from walk(below)


def scans(nodes: list[dict[str, Any]]) -> set[str]:
    """How the tables are read."""
    return {node["Node Type"] for node in nodes}


def index_of(node: dict[str, Any]) -> str:
    """The index that is read."""
    return str(node["Index Name"])


def rows_touched(nodes: list[dict[str, Any]]) -> float:
    """How many rows were read, and read for nothing."""
    return float(sum(_rows(node) * node["Actual Loops"] for node in nodes))


def _rows(node: dict[str, Any]) -> float:
    removed = node.get("Rows Removed by Filter", 0)
    return float(node["Actual Rows"]) + float(removed)
