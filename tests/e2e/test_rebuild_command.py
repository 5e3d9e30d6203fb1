"""``consent-ledger rebuild``, run and killed as an operator runs and kills it."""

import asyncio
import json
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import psutil
import pytest
from builders import signal as said
from conftest import CatchUp
from e2e.processes import (
    COMMAND,
    SECONDS_MAX,
    command_line,
    environment_for,
    eventually,
    free_port,
    is_alive,
    kill,
)

from ledger.command_handler import CommandHandler
from ledger.domain.ids import PhoneNumber
from ledger.store.database import Connection

Environment = dict[str, str]
NAME: Final = "phone_numbers"


@pytest.fixture
def environment(dsn: str, tmp_path: Path) -> Environment:
    """Settings for this test's database; on a busy machine nobody gives up."""
    return environment_for(tmp_path, free_port()) | {
        "DATABASE_URL": dsn,
        "LEDGER_STATEMENT_TIMEOUT_SECONDS": "60",
    }


@pytest.fixture(autouse=True)
async def people(handler: CommandHandler, catch_up: CatchUp) -> None:
    """Some who are in."""
    for n in range(20):
        number = PhoneNumber(f"+1415666{n:04}")
        await handler.handle(said(phone_number=number, status="in"))
    await catch_up()


async def run(environment: Environment, *arguments: str) -> tuple[int, str, str]:
    """A command to its end: exit code, standard output and error."""
    done = await asyncio.to_thread(command_line, environment, *arguments)
    return done.returncode, done.stdout, done.stderr


@asynccontextmanager
async def filling(
    environment: Environment, connection: Connection
) -> AsyncIterator[tuple[subprocess.Popen[str], list[psutil.Process]]]:
    """A rebuild in the middle of filling, and its processes, of which one waits.

    Until the end of the context, unless it ends before.
    """
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("LOCK TABLE rebuilt_slices IN SHARE MODE")
    rebuilding = subprocess.Popen(  # noqa: ASYNC220 - it only starts
        [COMMAND, "rebuild", NAME, "--processes", "2"],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"

    async def is_filling() -> bool:
        assert rebuilding.poll() is None, rebuilding.communicate()
        return bool(await connection.fetchval(waiting))

    try:
        await eventually(is_filling)
        yield rebuilding, psutil.Process(rebuilding.pid).children(recursive=True)
    finally:
        await transaction.rollback()
        rebuilding.kill()
        await asyncio.to_thread(rebuilding.wait)
        assert rebuilding.stderr
        rebuilding.stderr.close()


async def completed(environment: Environment) -> dict[str, Any]:
    """The same command again: it goes on, and every version is as the events say."""
    code, out, error = await run(environment, "rebuild", NAME, "--json")
    assert code == 0, error
    checked, report, _ = await run(environment, "replay", "--all", "--check", "--json")
    assert (checked, json.loads(report)["differences"]) == (0, 0), report
    told: dict[str, Any] = json.loads(out)
    return told


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGINT])
async def test_a_rebuild_that_is_ended_is_completed_by_the_next(
    environment: Environment, connection: Connection, signum: signal.Signals
) -> None:
    """No process outlives it, and what was begun is the version that answers."""
    async with filling(environment, connection) as (rebuilding, processes):
        assert len(processes) >= 2
        rebuilding.send_signal(signum)
        await asyncio.to_thread(rebuilding.wait, SECONDS_MAX)
        await eventually(
            lambda: not any(p.is_running() and is_alive(p) for p in processes)
        )
    assert (await completed(environment))["serving"] == 2


async def test_a_process_that_is_killed_ends_the_command(
    environment: Environment, connection: Connection
) -> None:
    """It says so, and that the same command goes on."""
    async with filling(environment, connection) as (rebuilding, processes):
        for process in processes:
            if "spawn_main" in " ".join(process.cmdline()):
                kill(process)
                break
        error = await said_by(rebuilding)
        assert rebuilding.returncode == 4, error
        assert "was killed; run it again" in error


async def test_an_event_of_a_newer_release_is_told_as_it_is(
    environment: Environment, connection: Connection
) -> None:
    """By the process that meets it to the one that waits, with what to start."""
    unheard = "ledger.domain.events:NumberReassigned"
    await connection.execute(
        "INSERT INTO ledger_events SELECT originator_id, 2, $1, '{}', 21 "
        "FROM ledger_events WHERE notification_id = 1",
        unheard,
    )
    await connection.execute("UPDATE ledger_position SET position = 21")
    await connection.execute("INSERT INTO event_kinds VALUES ($1, 1, '7.8.9')", unheard)
    code, _, error = await run(environment, "rebuild", NAME, "--processes", "1")
    assert (code, "position 21" in error, "release 7.8.9 does" in error) == (
        (3, True, True)
    ), error


async def test_it_is_cancelled_from_elsewhere(
    environment: Environment, connection: Connection
) -> None:
    """A second one says that there is one; cancelled, it ends and leaves nothing."""
    async with filling(environment, connection) as (rebuilding, _):
        code, _, error = await run(environment, "rebuild", NAME)
        assert (code, "--cancel stops it" in error) == (1, True)
        code, out, _ = await run(environment, "status")
        assert "filling" in out
        cancelling = asyncio.create_task(run(environment, "rebuild", "--cancel"))
        phase = "SELECT phase = 'cancelled' FROM rebuilds"
        await eventually(lambda: connection.fetchval(phase))
        await connection.execute("ROLLBACK; BEGIN")
        assert (await cancelling)[0] == 0
        error = await said_by(rebuilding)
        assert (rebuilding.returncode, "built no more" in error) == (1, True), error
    left = "SELECT count(*) FROM pg_class WHERE relname ~ '_v2'"
    assert await connection.fetchval(left) == 0
    assert (await run(environment, "rebuild", "nobody"))[0] == 1


async def said_by(rebuilding: subprocess.Popen[str]) -> str:
    """What a command has said on standard error, once it has ended."""
    assert rebuilding.stderr
    error = await asyncio.to_thread(rebuilding.stderr.read)
    await asyncio.to_thread(rebuilding.wait)
    return error
