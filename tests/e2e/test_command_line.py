"""Every command, run as an operator runs it: what it prints and what it exits with.

Exit codes: 0 done, 1 the answer is no, 2 wrong usage, 3 the settings or the schema do
not fit, 4 the database or the service cannot be used now.
"""

import asyncio
import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import aiohttp
import pytest
from builders import AUTH_TOKEN, NUMBER, bearer, text_form
from e2e.audit import read_whole
from e2e.processes import (
    TWILIO_TIMEOUT,
    Service,
    command_line,
    environment_for,
    free_port,
    get,
    new_folder,
    post,
    running,
)

from ledger.store.database import Connection

Environment = dict[str, str]

COMMANDS = ("serve", "project", "migrate", "simulate", "status", "keys")


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """A running service with its embedded server, which commands join."""
    with (
        new_folder() as folder,
        running(folder, {"LEDGER_KEY_CACHE_SECONDS": "0"}) as service,
    ):
        asyncio.run(service.ready())
        yield service


@pytest.fixture
def environment(dsn: str, tmp_path: Path) -> Environment:
    """Settings for a migrated database elsewhere; nothing runs on the port."""
    return environment_for(tmp_path, free_port()) | {"DATABASE_URL": dsn}


async def test_help_names_every_command(environment: Environment) -> None:
    """The list is whole, and asking for it is no error."""
    shown = await ok(environment, "--help")
    assert [name for name in COMMANDS if f" {name} " not in shown] == []


async def test_a_key_made_beside_a_running_service_works_until_it_is_revoked(
    service: Service,
) -> None:
    """It is printed once and alone; the server of the service is left running."""
    before = service.postmaster()
    secret = await ok(service.environment, "keys", "create", "crm", "--role", "reader")
    assert secret.startswith("clk_")
    assert await status_with(service, secret.strip()) == 404
    again = await run(service.environment, "keys", "create", "crm", "--role", "reader")
    assert (again.returncode, again.stdout) == (2, "")
    assert await ok(service.environment, "keys", "revoke", "crm") == "revoked crm\n"
    assert await status_with(service, secret.strip()) == 401
    shown, listed = await asyncio.gather(
        ok(service.environment, "keys", "list"),
        ok(service.environment, "keys", "list", "--json"),
    )
    [key] = json.loads(listed)
    assert (key["name"], key["role"]) == ("crm", "reader")
    assert key["revoked_at"] is not None
    assert "crm" in shown
    assert service.postmaster() == before
    await service.ready()


async def test_what_cannot_be_done_with_keys_is_told(environment: Environment) -> None:
    """An unknown name, an unknown role and a missing option have their exit codes."""
    unknown, king, nothing = await asyncio.gather(
        run(environment, "keys", "revoke", "nobody"),
        run(environment, "keys", "create", "crm", "--role", "king"),
        run(environment, "keys", "create", "crm"),
    )
    assert (unknown.returncode, king.returncode, nothing.returncode) == (1, 2, 2)
    assert "'nobody'" in unknown.stderr
    assert "reader, writer, auditor, admin" in king.stderr
    assert "--role" in nothing.stderr


async def test_simulate_shows_what_the_api_says_of_its_text(service: Service) -> None:
    """A first STOP is recorded, and visible in the very answer; then a START is."""
    stopped = await ok(service.environment, "simulate", NUMBER, "STOP")
    started = await ok(service.environment, "simulate", NUMBER, "START")
    assert stopped.startswith("200 <?xml")
    assert '"status":"out"' in stopped.splitlines()[1]
    assert '"status":"in"' in started.splitlines()[1]


async def test_status_shows_positions_and_totals(
    environment: Environment, connection: Connection
) -> None:
    """For people a table, for scripts JSON; 1 where a projection has stopped."""
    await connection.execute("UPDATE projections SET seen_at = clock_timestamp()")
    shown, listed = await asyncio.gather(
        ok(environment, "status"), ok(environment, "status", "--json")
    )
    assert "consent_history" in shown
    assert "phone_numbers" in shown
    report = json.loads(listed)
    assert (report["position"], report["numbers_in"], report["numbers_out"]) == (
        0,
        0,
        0,
    )
    await connection.execute(
        "UPDATE projections SET stopped_reason = 'a poisoned event' "
        "WHERE name = 'phone_numbers'"
    )
    done = await run(environment, "status", "--json")
    assert done.returncode == 1
    assert "a poisoned event" in done.stdout


async def test_two_migrations_at_once_apply_every_step_once(
    environment: Environment, connection: Connection
) -> None:
    """An empty database is refused; both succeed; a third one has nothing to do."""
    name = f"{await connection.fetchval('SELECT current_database()')}_empty"
    await connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    empty = environment | {"DATABASE_URL": renamed(environment["DATABASE_URL"], name)}
    try:
        for refused in await asyncio.gather(run(empty, "serve"), run(empty, "status")):
            assert refused.returncode == 3
            assert "run `consent-ledger migrate`" in refused.stderr
        both = await asyncio.gather(ok(empty, "migrate"), ok(empty, "migrate"))
        applied = [line for shown in both for line in shown.splitlines()]
        applied = [line for line in applied if line != "nothing to do"]
        assert len(applied) == len(set(applied)) > 2
        assert await ok(empty, "migrate") == "nothing to do\n"
    finally:
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


async def test_a_newer_schema_is_refused(
    environment: Environment, connection: Connection
) -> None:
    """Neither ``serve`` nor ``migrate`` touches what a newer release has made."""
    await connection.execute(
        "INSERT INTO schema_migrations (number, name) VALUES (9999, 'of tomorrow')"
    )
    both = await asyncio.gather(run(environment, "serve"), run(environment, "migrate"))
    for done in both:
        assert done.returncode == 3
        assert "newer release" in done.stderr


async def test_project_runs_alone_beside_a_service_without_it(
    environment: Environment, tmp_path: Path
) -> None:
    """What ``serve`` records, ``project`` shows; SIGTERM ends both with 0."""
    alone = environment | {"LEDGER_PROJECT_IN_SERVE": "false"}
    with (
        running(tmp_path, alone, "project") as projector,
        running(tmp_path, alone) as service,
    ):
        await service.ready()
        async with aiohttp.ClientSession(timeout=TWILIO_TIMEOUT) as session:
            assert (await post(session, service.url, text_form()))[0] == 200
        [row] = (await read_whole(environment["DATABASE_URL"])).tables.numbers
        assert row[1:3] == (NUMBER, "out")
        [only] = service.projectors()
        assert only.pid == projector.process.pid
        assert (projector.stop(), service.stop()) == (0, 0)


async def test_settings_that_cannot_be_served_with_are_refused(
    environment: Environment,
) -> None:
    """The exit code is 3, the message names the setting, and no secret is shown."""
    wrong = {
        "unknown settings: LEDGER_PROT": {"LEDGER_PROT": "8080"},
        "LEDGER_BATCH_MAX: ": {"LEDGER_BATCH_MAX": "0"},
        "TWILIO_AUTH_TOKEN must be set": {"TWILIO_AUTH_TOKEN": ""},
        "DATABASE_URL cannot be used": {"DATABASE_URL": "mysql://there/x"},
    }
    tried = (run(environment | changed, "serve") for changed in wrong.values())
    for says, done in zip(wrong, await asyncio.gather(*tried), strict=True):
        assert done.returncode == 3
        assert says in done.stderr
        assert AUTH_TOKEN not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr


async def test_what_cannot_be_reached_is_an_outage(environment: Environment) -> None:
    """A closed port, of the database or of the service, exits with 4 and is named."""
    closed = free_port()
    away = environment | {"DATABASE_URL": f"postgresql://postgres@127.0.0.1:{closed}/x"}
    database, service = await asyncio.gather(
        run(away, "status"), run(environment, "simulate", NUMBER, "STOP")
    )
    assert (database.returncode, service.returncode) == (4, 4)
    assert str(closed) in database.stderr
    assert environment["LEDGER_PORT"] in service.stderr


async def run(
    environment: Mapping[str, str], *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, beside others."""
    return await asyncio.to_thread(command_line, environment, *arguments)


async def ok(environment: Mapping[str, str], *arguments: str) -> str:
    """What a command prints that succeeds."""
    done = await run(environment, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def status_with(service: Service, secret: str) -> int:
    """What a read with a key is answered; of a number that was never seen, 404."""
    status, _ = await get(service.url, "/PhoneNumbers/+14155550000", **bearer(secret))
    return status


def renamed(dsn: str, name: str) -> str:
    """The same server's URL, for another database."""
    before, mark, after = dsn.partition("?")
    return f"{before.rpartition('/')[0]}/{name}{mark}{after}"
