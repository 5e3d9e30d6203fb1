"""``/healthz``, ``/readyz`` and ``/metrics``: what operators see."""

from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest
from aiohttp import ClientResponse
from api_steps import record, text
from builders import NUMBER
from conftest import CatchUp, Client, at_database, settings_for
from prometheus_client.parser import text_string_to_metric_families

from ledger.app import make_app
from ledger.errors import StoreUnavailable
from ledger.store.database import Connection

Start = Callable[..., Awaitable[Client]]
NOWHERE = "postgresql://nobody:secret-password@127.0.0.1:1/nothing"


async def ready(client: Client) -> tuple[int, Any]:
    """The answer of /readyz."""
    response = await client.get("/readyz")
    assert response.content_type == "application/json"
    answer = await response.json()
    assert answer["ready"] == (response.status == 200) == (not answer["reasons"])
    return response.status, answer


async def samples(response: ClientResponse) -> dict[tuple[str, ...], float]:
    """Prometheus's samples: the name and its labels' values, sorted."""
    assert response.status == 200
    assert response.content_type == "text/plain"
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(await response.text())
        for sample in family.samples
    }


@pytest.mark.usefixtures("projector")
async def test_a_running_service_is_ready(client: Client) -> None:
    """200 with the position and where each projection stands."""
    await record(client)
    status, answer = await ready(client)
    assert status == 200
    assert answer["position"] == 1
    found = {p["name"]: p["running"] for p in answer["projections"]}
    assert found == {"phone_numbers": True, "consent_history": True, "messages": True}


async def test_a_service_without_its_database_lives_and_is_not_ready(
    aiohttp_client: Start,
) -> None:
    """Database down: /healthz 200, /readyz 503, /metrics 200; no address is shown."""
    client = await aiohttp_client(await make_app(NOWHERE, settings_for(NOWHERE)))
    alive = await client.get("/healthz")
    assert (alive.status, await alive.json()) == (200, {"alive": True})
    status, answer = await ready(client)
    assert status == 503
    assert answer == {
        "ready": False,
        "reasons": [
            f"store_unavailable: {StoreUnavailable.title()}",
        ],
        "position": None,
        "projections": [],
    }
    assert await samples(await client.get("/metrics"))


async def test_an_empty_database_is_not_ready(
    server_url: str, connection: Connection, aiohttp_client: Start
) -> None:
    """Schema missing: 503 says to migrate; metrics are there all the same."""
    name = await connection.fetchval("SELECT current_database() || '_empty'")
    administrator = await asyncpg.connect(at_database(server_url, "postgres"))
    await administrator.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    try:
        dsn = at_database(server_url, name)
        client = await aiohttp_client(await make_app(dsn, settings_for(dsn)))
        status, answer = await ready(client)
        assert status == 503
        [reason] = answer["reasons"]
        assert "consent-ledger migrate" in reason
        assert await samples(await client.get("/metrics"))
        await client.close()
    finally:
        await administrator.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await administrator.close()


async def test_another_schema_is_not_ready(
    client: Client, connection: Connection, catch_up: CatchUp
) -> None:
    """Schema newer or older than the release: 503 with both numbers."""
    await catch_up()
    latest = await connection.fetchval("SELECT max(number) FROM schema_migrations")
    changes = [
        "INSERT INTO schema_migrations VALUES ($1 + 1, '9999_later.sql')",
        "DELETE FROM schema_migrations WHERE number >= $1",
    ]
    for change in changes:
        await connection.execute(change, latest)
        status, answer = await ready(client)
        assert status == 503
        [reason] = answer["reasons"]
        assert reason.startswith("schema_mismatch: ")
        assert str(latest) in reason


async def test_a_silent_projection_is_not_ready(
    client: Client, connection: Connection, catch_up: CatchUp
) -> None:
    """Worker silent for too long: 503 names the projection that is not running."""
    await catch_up()
    await connection.execute(
        "UPDATE projections SET seen_at = clock_timestamp() - "
        "CASE name WHEN 'phone_numbers' THEN interval '1 minute' ELSE '0 s' END"
    )
    status, answer = await ready(client)
    assert (status, answer["reasons"]) == (503, ["phone_numbers is not running"])


async def test_a_stopped_projection_is_not_ready(
    client: Client, connection: Connection
) -> None:
    """Stopped at an event: 503 says which and where, and shows nothing of the row."""
    await connection.execute(
        "UPDATE projections SET seen_at = clock_timestamp(), stopped_reason = "
        "CASE name WHEN 'consent_history' THEN 'CheckViolationError: +14155550100' END"
    )
    status, answer = await ready(client)
    assert (status, answer["reasons"]) == (503, ["consent_history has stopped after 0"])
    [stopped] = [p for p in answer["projections"] if p["name"] == "consent_history"]
    assert (stopped["running"], stopped["stoppedReason"]) == (
        False,
        "CheckViolationError",
    )
    found = await samples(await client.get("/metrics"))
    assert found["ledger_projection_stopped", "consent_history"] == 1
    assert found["ledger_projection_stopped", "phone_numbers"] == 0


async def test_a_projection_that_was_never_made_is_not_ready(
    client: Client, connection: Connection
) -> None:
    """No projection known: 503 says that none was ever started."""
    await connection.execute("TRUNCATE projections CASCADE")
    status, answer = await ready(client)
    assert (status, answer["reasons"]) == (503, ["no projection was ever started"])


async def test_a_projection_far_behind_is_not_ready(
    dsn: str, aiohttp_client: Start, connection: Connection
) -> None:
    """More events behind than the bound: 503 says how many; at the bound, 200."""
    settings = settings_for(dsn, LEDGER_LAG_EVENTS_MAX="1")
    client = await aiohttp_client(await make_app(dsn, settings))
    await connection.execute("UPDATE projections SET seen_at = clock_timestamp()")
    await text(client)
    assert (await ready(client))[0] == 200
    await text(client)
    status, answer = await ready(client)
    assert status == 503
    assert sorted(answer["reasons"]) == [
        "consent_history is 2 events behind",
        "messages is 2 events behind",
        "phone_numbers is 2 events behind",
    ]


async def test_metrics_count_and_name_nobody(client: Client, catch_up: CatchUp) -> None:
    """Requests by route's pattern, signals, position and lag; no number anywhere."""
    before = await samples(await client.get("/metrics"))
    await text(client, "STOP")
    await text(client, "HELP")
    response = await client.get(f"/PhoneNumbers/{NUMBER}")
    assert response.status == 401
    behind = await client.get("/metrics")
    found = await samples(behind)
    assert NUMBER[1:] not in await behind.text()
    assert found["ledger_position",] == 1
    assert found["ledger_projection_lag_events", "phone_numbers"] == 1

    def grown(*name: str) -> float:
        key = (name[0], *sorted(name[1:]))
        return found[key] - before.get(key, 0)

    signal = ("ledger_signals_total", "twilio.inbound", "out", "keyword", "appended")
    requests = "ledger_request_seconds_count"
    assert grown(*signal) == 1
    assert grown(requests, "/optInStatus", "POST", "200") == 2
    assert grown(requests, "/PhoneNumbers/{number}", "GET", "401") == 1
    await catch_up()
    found = await samples(await client.get("/metrics"))
    assert found["ledger_projection_lag_events", "phone_numbers"] == 0
