"""What operators see of versions and rebuilds: readiness, status, metrics, rights."""

import pytest
from api_steps import ask, path_of, text
from builders import NUMBER, bearer
from conftest import CatchUp, Client
from rebuild_steps import Steps, rebuilt

from ledger.reports import print_status, read_status
from ledger.settings import Settings
from ledger.simulate import simulate_text
from ledger.store.database import Connection
from projections.consent_history import ConsentHistory
from projections.phone_numbers import PhoneNumbers
from projections.rebuild import drop_old
from projections.worker import Means, Worker


async def ready(client: Client) -> tuple[int, list[str]]:
    """Status of /readyz, and what stands in the way."""
    response = await client.get("/readyz")
    return response.status, (await response.json())["reasons"]


async def gauges(client: Client) -> dict[str, float]:
    """The gauges of rebuilds of phone_numbers."""
    lines = (await (await client.get("/metrics")).text()).splitlines()
    found = (line.rsplit(" ", 1) for line in lines if line.startswith("ledger_rebuild"))
    return {
        name.partition("{")[0]: float(value)
        for name, value in found
        if "phone_numbers" in name
    }


async def test_a_release_answers_from_the_newest_that_it_knows(  # noqa: PLR0913, PLR0917
    dsn: str,
    means: Means,
    client: Client,
    connection: Connection,
    catch_up: CatchUp,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Where the serving version has other columns; where it knows none, it says so."""
    await text(client, "STOP")
    await catch_up()
    await rebuilt(dsn, means)
    await connection.execute("UPDATE projections SET shape = 9 WHERE version = 2")
    await connection.execute("SELECT pg_notify('projections_switched', '')")
    assert (await ask(client))["status"] == "out"
    assert await ready(client) == (200, [])
    # Nobody keeps the other one up to date before the release that made it is started.
    await text(client, "START")
    await Worker((PhoneNumbers(1), ConsentHistory(1)), means).catch_up()
    behind = "UPDATE projections SET seen_at = '2026-01-01' WHERE version = 2"
    await connection.execute(behind)
    lag = 'ledger_projection_lag_events{projection="phone_numbers"} 0.0'
    assert lag in await (await client.get("/metrics")).text()
    print_status(told := await read_status(connection, []), as_json=False)
    assert (told.is_well, "here" in capsys.readouterr().out) == (True, True)
    await connection.execute(
        "UPDATE projections SET shape = 9 WHERE name = 'phone_numbers'"
    )
    await connection.execute("SELECT pg_notify('projections_switched', '')")

    for _ in range(100):
        response = await client.get(path_of(), headers=bearer())
        if response.status == 503:
            break
    assert (await response.json())["code"] == "not_served"
    status, [reason] = await ready(client)
    assert status == 503
    assert reason.startswith("not_served: phone_numbers has no version")
    told = await read_status(connection, [])
    assert (told.numbers_in, told.is_well) == (None, False)


async def test_who_simulates_a_text_is_told_why_nothing_answers(
    client: Client, settings: Settings, connection: Connection
) -> None:
    """The text is recorded all the same."""
    await connection.execute("UPDATE projections SET shape = 9")
    there = settings.model_copy(update={"host": client.host, "port": client.port})
    is_accepted, shown = await simulate_text(
        there,
        number=NUMBER,
        text="STOP",
        to="+14155550199",
        service=None,
        opt_out_type=None,
    )
    assert is_accepted
    assert "not_served" in shown.splitlines()[1]


async def test_what_is_half_built_answers_nobody(
    dsn: str, means: Means, client: Client, connection: Connection, catch_up: CatchUp
) -> None:
    """Not even where it is the only one whose columns are known."""
    await text(client, "STOP")
    await catch_up()
    async with Steps(dsn, means) as steps:
        await steps.build()
        await connection.execute("UPDATE projections SET shape = 9 WHERE version = 1")
        status, [reason] = await ready(client)
        assert (status, "not_served" in reason) == (503, True)


async def test_how_far_a_rebuild_is_is_told(  # noqa: PLR0913, PLR0917 - fixtures
    dsn: str,
    means: Means,
    client: Client,
    connection: Connection,
    catch_up: CatchUp,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The same in status, metrics and the table; nothing of it where there is none."""
    await text(client, "STOP")
    await catch_up()
    assert set((await gauges(client)).values()) == {0}
    async with Steps(dsn, means) as steps:
        for step, phase, done in (
            (None, 1, 0),
            (steps.fill, 1, 1),
            (steps.index, 2, 1),
            (steps.follow, 4, 1),
        ):
            if step:
                await step()
            assert await gauges(client) == {
                "ledger_rebuild_phase": phase,
                "ledger_rebuild_events_done": done,
                "ledger_rebuild_events": 1,
            }
            [told] = (await read_status(connection, [])).rebuilds
            assert (told.name, told.version) == ("phone_numbers", 2)
            assert (told.events_done, told.events_total) == (done, 1)
            assert told.is_at_work
            assert told.seconds_left == (0 if done else None)
        print_status(await read_status(connection, []), as_json=False)
        assert "compared" in capsys.readouterr().out
    # Killed, it is there still, and no clock of it runs.
    [told] = (await read_status(connection, [])).rebuilds
    assert (told.is_at_work, told.seconds_left) == (False, None)
    print_status(await read_status(connection, []), as_json=False)
    assert "at rest" in capsys.readouterr().out
    async with Steps(dsn, means) as steps:
        await steps.switch()
    assert set((await gauges(client)).values()) == {0}
    assert (await read_status(connection, [])).rebuilds == []
    assert (await ready(client))[1] == []
    await drop_old(connection, "phone_numbers")
    assert (await ready(client))[1] == []
