"""The deployment files name what there is, and the roles allow what is needed.

Docker is not needed for this: every command, option, setting and file is looked up.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib.metadata import version
from typing import Any, Final

import asyncpg
import pytest
import yaml
from aiohttp import web
from api_steps import path_of, text
from builders import MASTERS, bearer
from conftest import Client, settings_for
from pydantic import ValidationError
from rebuild_steps import rebuilt
from tidy.repository import DOCS, ROOT, blocks, page
from typer.main import get_command

from ledger.__main__ import app as command_line
from ledger.app import make_app
from ledger.migrations import check_schema
from ledger.reports import read_status
from ledger.settings import Settings
from ledger.store.database import Connection, open_pool
from ledger.store.keyring import Keyring
from ledger.store.postgres import PostgresEventStore
from ledger.store.subscription import Doorbell
from projections.rebuild import drop_old
from projections.registry import NAMES, known, read_live
from projections.worker import Means, Worker

SERVICES: Final = ("database", "migrate", "roles", "web", "projector")
OURS: Final = ("migrate", "web", "projector")
ROLES: Final = ("ledger_web", "ledger_projector", "ledger_auditor")
# Read by PostgreSQL's image and by psql, and by Python.
OTHERS_SETTINGS: Final = re.compile(r"POSTGRES_|PG[A-Z]+$|PYTHON")

ATTACKS: Final = (
    "UPDATE ledger_events SET topic = 'another'",
    "DELETE FROM ledger_events",
    "TRUNCATE ledger_events",
    "ALTER TABLE ledger_events DISABLE TRIGGER ALL",
    "DROP TABLE ledger_events",
    "UPDATE signal_keys SET position = 0",
    "DELETE FROM signal_keys",
    "DELETE FROM ledger_position",
    "UPDATE identity_key SET wrapped_key = ''",
    "DELETE FROM identity_key",
    "UPDATE subject_keys SET wrapped_key = ''",
    "DELETE FROM subject_keys",
    "UPDATE evidence_keys SET wrapped_key = ''",
    "DELETE FROM evidence_keys",
    "INSERT INTO kept_evidence_keys VALUES (gen_random_uuid(), '', '', '')",
    "DELETE FROM kept_evidence_keys",
    "INSERT INTO erased_subjects VALUES (gen_random_uuid(), 'unknown', now(), 1)",
    "UPDATE erased_subjects SET status = 'unknown'",
    "DELETE FROM erased_subjects",
    "INSERT INTO api_keys VALUES ('mine', '', 'admin')",
    "UPDATE api_keys SET revoked_at = NULL",
    "UPDATE consent_history_v1 SET status = 'in'",
    # An erasure goes through the projections by name.
    "UPDATE projections SET name = 'another'",
    "DELETE FROM projections",
    "DELETE FROM schema_migrations",
)
ERASE: Final = "SELECT erase_subject_v1($1, 1, 0, 'unknown', now(), '', '', '', '')"
# What one role may, and the others may not.
ATTACKS_BY_ROLE: Final = {
    "ledger_web": (
        "DELETE FROM phone_numbers_v1",
        "SELECT phone_numbers_v1_erase(gen_random_uuid())",
    ),
    "ledger_projector": (
        "INSERT INTO ledger_events VALUES (gen_random_uuid(), 1, '', '', 1)",
        "INSERT INTO subject_keys VALUES (gen_random_uuid(), '', '')",
        "SELECT * FROM evidence_keys",
        "SELECT * FROM kept_evidence_keys",
        ERASE.replace("$1", "gen_random_uuid()"),
    ),
    "ledger_auditor": (
        "SELECT * FROM identity_key",
        "SELECT * FROM subject_keys",
        "SELECT * FROM evidence_keys",
        "SELECT * FROM kept_evidence_keys",
        "SELECT * FROM phone_numbers_v1",
        ERASE.replace("$1", "gen_random_uuid()"),
    ),
}
MASTER_KEY_MOUNTED: Final = "/run/secrets/master_key"

_VARIABLE: Final = re.compile(r"\$\{(\w+)(?::[-?][^}]*)?\}")

Application = Callable[[web.Application], Awaitable[Client]]


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    """What docker-compose.yml runs, by name."""
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    found: dict[str, Any] = compose["services"]
    return found


def test_there_are_the_services_that_the_page_names(services: dict[str, Any]) -> None:
    """Database, migrations, roles, web processes and projector; no more."""
    assert tuple(services) == SERVICES
    for name in SERVICES:
        assert f"| `{name}` |" in page("how-to/deploy.md")


def test_every_command_is_one_that_there_is(services: dict[str, Any]) -> None:
    """Each service of ours runs a command, with options, that the command line has."""
    commands: Any = get_command(command_line)
    for name in OURS:
        command, *options = services[name]["command"]
        known = {o for p in commands.commands[command].params for o in p.opts}
        assert {o for o in options if o.startswith("--")} <= known, name
    check = services["projector"]["healthcheck"]["test"]
    assert check[:2] == ["CMD", "consent-ledger"]
    assert check[2] in commands.commands


def test_every_setting_is_one_that_there_is(services: dict[str, Any]) -> None:
    """Each variable is a setting of ours, or PostgreSQL's."""
    known = {str(field.alias) for field in Settings.model_fields.values()}
    for name, service in services.items():
        for variable in service["environment"]:
            is_others = OTHERS_SETTINGS.match(variable) is not None
            assert variable in known or is_others, f"{name}: {variable}"
    for variable in re.findall(r"^(?:ENV)?\s+([A-Z_]+)=", _dockerfile(), re.MULTILINE):
        assert variable in known or OTHERS_SETTINGS.match(variable)


def test_the_settings_are_ones_to_start_with(services: dict[str, Any]) -> None:
    """What Compose gives to each service of ours is accepted, once secrets are set."""
    for name in OURS:
        given = {
            variable: _VARIABLE.sub("a-secret-of-some-length", str(value))
            for variable, value in services[name]["environment"].items()
        }
        given |= {"LEDGER_TWILIO_SUBACCOUNTS": "", "PUBLIC_URL": "https://example.com"}
        try:
            settings = Settings.from_mapping(given)
        except ValidationError as error:
            raise AssertionError(name) from error
        assert not settings.is_embedded
    assert settings_of(services, "web").project_in_serve is False


def test_a_missing_secret_is_named() -> None:
    """Whatever has no default stops Compose, with a word on what it is for."""
    text_of_file = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    used = set(_VARIABLE.findall(text_of_file))
    explained = set(re.findall(r"\$\{(\w+):\?[^}]{10,}\}", text_of_file))
    optional = set(re.findall(r"\$\{(\w+):-[^}]*\}", text_of_file))
    assert used == explained | optional
    # Compose refuses to start where the variable of a secret is not set.
    secrets = yaml.safe_load(text_of_file)["secrets"].values()
    explained |= {secret["environment"] for secret in secrets}
    [example] = [
        block
        for block in blocks(page("how-to/deploy.md"), "sh")
        if "cat > .env" in block
    ]
    assert explained <= set(re.findall(r"^(\w+)=", example, re.MULTILINE))


def test_the_master_key_is_mounted_and_never_a_variable(
    services: dict[str, Any],
) -> None:
    """Readable by the image's user alone, and mounted only for who needs it."""
    [user] = re.findall(r"^USER (\d+)$", _dockerfile(), re.MULTILINE)
    for name, service in services.items():
        environment = service["environment"]
        assert "LEDGER_MASTER_KEY" not in environment
        if name in {"web", "projector"}:
            assert environment["LEDGER_MASTER_KEY_FILE"] == MASTER_KEY_MOUNTED
            [mounted] = service["secrets"]
            assert (mounted["uid"], mounted["mode"]) == (user, "0o400")
            assert MASTER_KEY_MOUNTED.endswith(f"/{mounted['source']}")
        else:
            assert "LEDGER_MASTER_KEY_FILE" not in environment
            assert "secrets" not in service


def test_every_service_that_stays_is_checked_and_restarted(
    services: dict[str, Any],
) -> None:
    """What runs all day has a health check and comes back; what runs once does not."""
    for name, service in services.items():
        runs_once = name in {"migrate", "roles"}
        assert (service["restart"] == "no") == runs_once
        assert ("healthcheck" in service) != runs_once


def test_the_health_check_asks_a_route_that_there_is(services: dict[str, Any]) -> None:
    """The web service is asked on the port that it listens on."""
    check = " ".join(services["web"]["healthcheck"]["test"])
    port = Settings.model_fields["port"].default
    assert f"http://127.0.0.1:{port}/healthz" in check
    assert services["web"]["ports"] == [f"127.0.0.1:{port}:{port}"]
    compile(services["web"]["healthcheck"]["test"][-1], "healthcheck", "exec")


def test_the_database_is_asked_where_it_is_used(services: dict[str, Any]) -> None:
    """By TCP: on its socket it is ready while it is still being made."""
    check = services["database"]["healthcheck"]["test"]
    assert check[:3] == ["CMD", "pg_isready", "--host=127.0.0.1"]


def test_a_stop_has_the_time_that_it_may_take(services: dict[str, Any]) -> None:
    """Docker waits longer than the service does for what it accepted."""
    for name in ("web", "projector"):
        grace = int(services[name]["stop_grace_period"].removesuffix("s"))
        assert grace > settings_of(services, name).stop_seconds_max


def test_what_the_image_copies_is_there() -> None:
    """Each file that the image is made of is in the checkout, and reaches Docker."""
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    copied = [
        name
        for line in re.findall(r"^COPY (.+) \S+$", _dockerfile(), re.MULTILINE)
        for name in line.split()
    ]
    assert copied
    for name in copied:
        assert (ROOT / name).exists(), name
        assert f"!{name}" in ignored, name
    for volume in re.findall(
        r"- \./(\S+?):", (ROOT / "docker-compose.yml").read_text()
    ):
        assert (ROOT / volume).exists(), volume


def test_the_version_is_the_same_everywhere(services: dict[str, Any]) -> None:
    """Image, changelog and package are of one version."""
    current = version("consent-ledger")
    assert {services[name]["image"] for name in OURS} == {f"consent-ledger:{current}"}
    assert f"\n## {current} " in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_image_does_not_run_as_root() -> None:
    """The process is a number other than root's, and runs our command."""
    dockerfile = _dockerfile()
    assert re.search(r"^USER [1-9]\d*$", dockerfile, re.MULTILINE)
    assert 'ENTRYPOINT ["consent-ledger"]' in dockerfile


def test_the_rights_on_events_are_shown_as_they_are() -> None:
    """The statements that the page shows are those of the file."""
    shown = [b for b in blocks(page("how-to/deploy.md"), "sql") if "GRANT" in b]
    statements = (DOCS / "how-to/roles.sql").read_text(encoding="utf-8")
    for block in shown:
        assert block in statements


@pytest.fixture
async def roles(connection: Connection) -> AsyncIterator[None]:
    """The roles of docs/how-to/roles.sql, for as long as a test runs."""
    statements = (DOCS / "how-to/roles.sql").read_text(encoding="utf-8")
    await connection.execute(statements)
    await connection.execute(statements)
    yield
    names = ", ".join(ROLES)
    await connection.execute(f"DROP OWNED BY {names}; DROP ROLE {names}")


@pytest.mark.usefixtures("roles")
async def test_the_service_needs_no_more_than_its_roles(
    dsn: str, aiohttp_client: Application
) -> None:
    """A STOP is recorded, projected, read and erased, each by the role that does it."""
    web_dsn, projector_dsn = (as_role(dsn, role) for role in ROLES[:2])
    client = await aiohttp_client(await make_app(web_dsn, settings_for(web_dsn)))
    await text(client, "STOP")
    await catch_up_as(projector_dsn)
    for path in (path_of(), path_of(rest="/history"), "/PhoneNumbers/"):
        response = await client.get(path, headers=bearer())
        assert response.status == 200, path
        assert '"out"' in await response.text()
    assert (await client.get("/readyz")).status == 200
    # What every process and the projector's health check begin with.
    for started in (web_dsn, projector_dsn):
        connection = await asyncpg.connect(started)
        await check_schema(connection)
        await Keyring(connection, MASTERS).check()
        assert (await read_status(connection, [])).is_well
        await connection.close()
    erased = await client.delete(path_of(rest="?reason=asked"), headers=bearer())
    assert erased.status == 200, await erased.text()
    await text(client, "START")
    await catch_up_as(projector_dsn)
    answer = await client.get(path_of(), headers=bearer())
    assert '"in"' in await answer.text()


@pytest.mark.usefixtures("roles")
async def test_the_roles_serve_another_version(
    dsn: str, connection: Connection, means: Means, aiohttp_client: Application
) -> None:
    """A rebuild gives them the same rights, and roles.sql runs after a drop."""
    web_dsn, projector_dsn = (as_role(dsn, role) for role in ROLES[:2])
    client = await aiohttp_client(await make_app(web_dsn, settings_for(web_dsn)))
    await text(client, "STOP")
    await catch_up_as(projector_dsn)
    for name in NAMES:
        await rebuilt(dsn, means, name)
        await drop_old(connection, name)
    statements = (DOCS / "how-to/roles.sql").read_text(encoding="utf-8")
    for again in ("SELECT 1", statements):
        await connection.execute(again)
        await text(client, "START")
        await catch_up_as(projector_dsn)
        for path in (path_of(), path_of(rest="/history"), "/PhoneNumbers/"):
            response = await client.get(path, headers=bearer())
            assert '"in"' in await response.text(), path
        assert (await client.get("/readyz")).status == 200
    erased = await client.delete(path_of(rest="?reason=asked"), headers=bearer())
    assert erased.status == 200, await erased.text()


async def catch_up_as(dsn: str) -> None:
    """Bring the projections up to date with the rights of a role."""
    settings = settings_for(dsn)
    bell = Doorbell(dsn, "ledger_events", poll_seconds=1)
    async with await open_pool(dsn, settings, application="test") as pool:
        store, keyring = PostgresEventStore(pool), Keyring(pool, MASTERS)
        means = Means(dsn, pool, store, keyring, bell, settings)
        reached = await Worker(known(await read_live(pool)), means).catch_up()
        # What a worker that follows the ledger does before it waits.
        assert await store.await_events() == reached


@pytest.mark.usefixtures("roles")
@pytest.mark.parametrize("role", ROLES)
async def test_a_role_cannot_change_what_was_recorded(dsn: str, role: str) -> None:
    """No role that runs all day may change the ledger, its keys or the history.

    The auditor has no keys, and the projector none that open evidence.
    """
    connection = await asyncpg.connect(as_role(dsn, role))
    for statement in (*ATTACKS, *ATTACKS_BY_ROLE[role]):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    await connection.close()


def as_role(dsn: str, role: str) -> str:
    """The same database, in the role's name."""
    return f"{dsn}{'&' if '?' in dsn else '?'}role={role}"


def settings_of(services: dict[str, Any], name: str) -> Settings:
    """The settings that Compose gives to a service, secrets made up."""
    given = {
        variable: _VARIABLE.sub("a-secret-of-some-length", str(value))
        for variable, value in services[name]["environment"].items()
    }
    given |= {"LEDGER_TWILIO_SUBACCOUNTS": "", "PUBLIC_URL": "https://example.com"}
    return Settings.from_mapping(given)


def _dockerfile() -> str:
    return (ROOT / "Dockerfile").read_text(encoding="utf-8")
