"""How the service starts and stops, and that nothing of it is left behind."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import aiohttp
import asyncpg
import psutil
import pytest
from builders import text_form
from e2e.audit import assert_whole, read_whole, recorded_keys
from e2e.processes import (
    TWILIO_TIMEOUT,
    Load,
    Service,
    command_line,
    eventually,
    get,
    kill,
    new_folder,
    post,
    running,
)

from ledger.store.embedded import EmbeddedPostgres
from projections.app import migrate_all

ACCEPTED: Final = 20
PROBLEM: Final = "application/problem+json"


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """One database for all of these, so that it is made once."""
    with new_folder() as folder:
        yield folder


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
async def test_a_stop_commits_and_answers_what_was_accepted(
    folder: Path, signum: signal.Signals
) -> None:
    """Nobody new is let in, each text that waits is answered 200, it exits with 0."""
    forms = [text_form(From=f"+1415555{i:04}") for i in range(ACCEPTED)]
    with running(folder, {"LEDGER_BATCH_MAX": "1"}) as service:
        await service.ready()
        async with aiohttp.ClientSession(timeout=TWILIO_TIMEOUT) as session:
            async with counter_locked(service.dsn()):
                posts = [
                    asyncio.create_task(post(session, service.url, form))
                    for form in forms
                ]
                # One text is with the database in each process, the others wait.
                await eventually(lambda: is_waiting(service, ACCEPTED - 2))
                service.process.send_signal(signum)
                await eventually(lambda: not service.accepts())
            answers = await asyncio.gather(*posts)
        assert [status for status, *_ in answers] == [200] * ACCEPTED
        assert await asyncio.to_thread(service.ended) == 0
        assert_nothing_is_left(service)
    assert await recorded(folder, forms) == ACCEPTED


async def test_a_stop_under_load_loses_nothing(folder: Path) -> None:
    """Clients that never cease see a closed door, and what was answered is kept."""
    with running(folder) as service:
        await service.ready()
        async with Load(service.url, seed=1) as load:
            await load.acknowledged_more(200)
            assert await asyncio.to_thread(service.stop) == 0
            assert_nothing_is_left(service)
    acknowledged = load.all_acknowledged()
    assert await recorded(folder, [{"MessageSid": sid} for sid in acknowledged]) > 200
    assert set(load.answers) <= {200, 503, 0}


async def test_the_others_end_when_the_parent_is_killed(folder: Path) -> None:
    """Web processes, projector and database end by themselves; a next start works."""
    with running(folder) as service:
        await service.ready()
        async with Load(service.url, seed=2) as load:
            await load.acknowledged_more(100)
            kill(psutil.Process(service.process.pid))
            await eventually(lambda: service.processes() == [])
            service.start()
            await load.acknowledged_more(100)
        await service.ready()
        whole = await read_whole(service.dsn())
        assert service.stop() == 0
    assert_whole(whole, load.all_acknowledged())


async def test_a_second_service_on_the_port_is_refused(folder: Path) -> None:
    """It names the port, exits with 3, and the first one serves on."""
    with running(folder) as service:
        await service.ready()
        before = {process.pid for process in service.processes()}
        second = await asyncio.to_thread(command_line, service.environment, "serve")
        assert second.returncode == 3
        assert f"cannot listen on 127.0.0.1:{service.port}" in second.stderr
        assert "listening" not in second.stdout
        assert before <= {process.pid for process in service.processes()}
        await service.ready()
        assert service.stop() == 0


async def test_a_stop_while_starting_leaves_nothing(folder: Path) -> None:
    """SIGTERM as soon as the database runs, before the service does, ends both."""
    with running(folder) as service:
        await eventually(lambda: service.postgres() != [])
        service.stop()
        assert_nothing_is_left(service)


async def test_the_service_starts_without_its_database_and_finds_it_later(
    folder: Path,
) -> None:
    """Alive at once, 503 with the reason while the database is down, then ready."""
    server = EmbeddedPostgres(folder)
    dsn = server.start()
    connection = await asyncpg.connect(dsn)
    await migrate_all(connection)
    await connection.close()
    server.stop()
    more = {"DATABASE_URL": dsn, "LEDGER_APPEND_TIMEOUT_SECONDS": "0.5"}
    with new_folder() as elsewhere, running(elsewhere, more) as service:
        await eventually(lambda: is_alive(service))
        status, body = await get(service.url, "/readyz")
        assert status == 503
        assert json.loads(body)["reasons"][0].startswith("store_unavailable: ")
        async with aiohttp.ClientSession(timeout=TWILIO_TIMEOUT) as session:
            status, headers, body = await post(session, service.url, text_form())
            assert status == 503
            assert headers["Content-Type"] == PROBLEM
            assert int(headers["Retry-After"]) >= 1
            assert json.loads(body)["code"] == "store_unavailable"
            web = {process.pid for process in service.web_processes()}
            await asyncio.to_thread(server.start)
            await service.ready()
            status, *_ = await post(session, service.url, text_form())
        assert status == 200
        assert {process.pid for process in service.web_processes()} == web
        assert service.stop() == 0
        assert_nothing_is_left(service)
        server.stop()


def assert_nothing_is_left(service: Service) -> None:
    """No process and no temporary file; and the database was shut down, not killed."""
    assert service.processes() == []
    assert list(service.temporary.iterdir()) == []
    server_log = service.folder / "postgres.log"
    if server_log.exists():
        [*_, last] = server_log.read_text().splitlines()
        assert last.endswith("database system is shut down")


@asynccontextmanager
async def counter_locked(dsn: str) -> AsyncIterator[None]:
    """Nothing can be appended while the context lasts."""
    connection = await asyncpg.connect(dsn)
    async with connection.transaction():
        await connection.execute("SELECT * FROM ledger_position FOR UPDATE")
        yield
    await connection.close()


async def is_waiting(service: Service, count: int) -> bool:
    """Whether so many texts wait in the queues of both web processes."""
    _, body = await get(service.url, "/metrics")
    lines = [line for line in body.splitlines() if line.startswith("ledger_queue")]
    return lines != [] and float(lines[0].split()[-1]) >= count


async def is_alive(service: Service) -> bool:
    """Whether /healthz says so."""
    return service.accepts() and (await get(service.url, "/healthz"))[0] == 200


async def recorded(folder: Path, forms: list[dict[str, str]]) -> int:
    """How many of these texts are in the stopped service's ledger; all, or it fails."""
    server = EmbeddedPostgres(folder)
    connection = await asyncpg.connect(await asyncio.to_thread(server.start))
    sids = {form["MessageSid"] for form in forms}
    keys = await recorded_keys(connection, sids)
    await connection.close()
    await asyncio.to_thread(server.stop)
    assert keys.keys() == sids
    return len(forms)
