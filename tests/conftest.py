"""A real PostgreSQL for every test: a fresh clone of a migrated template.

The server is the embedded one, or the one that TEST_DATABASE_URL names (a superuser's
URL; databases are made and dropped there). Cloned and not rolled back: what is tested
is commits, notifications and their order.
"""

import asyncio
import itertools
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import hypothesis
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from builders import (
    ACCOUNT_SID,
    ADMIN_KEY,
    AUTH_TOKEN,
    MASTER_KEY,
    MASTERS,
    PUBLIC_URL,
)
from folders import quick_folder
from twilio_api.documents import Account
from twilio_api.standin import StandIn

from ledger.app import make_app
from ledger.command_handler import CommandHandler
from ledger.connections import Runner
from ledger.erasure import Erasures
from ledger.settings import Settings
from ledger.store.database import Connection, Pool, open_pool
from ledger.store.embedded import SHIPPED_SETTINGS, EmbeddedPostgres
from ledger.store.keyring import Keyring
from ledger.store.postgres import PostgresEventStore
from ledger.store.subscription import Doorbell
from projections.app import PROJECTIONS, migrate_all
from projections.worker import Means, Worker

# A test's database is thrown away: what survives a power cut is not tested here.
SERVER_SETTINGS: Final = {
    **SHIPPED_SETTINGS,
    "fsync": "off",
    "max_connections": "200",
    "max_wal_size": "256MB",
}
END_TO_END: Final = Path(__file__).with_name("e2e")
_numbers = itertools.count(1)

# A machine that is busy with other tests is slow, and that is no failure.
hypothesis.settings.register_profile("ledger", deadline=None)
hypothesis.settings.load_profile("ledger")

# A shell that runs the tests in the background has them ignore Ctrl-C, and so would
# every process that they start and send it to.
signal.signal(signal.SIGINT, signal.default_int_handler)

Client = TestClient[web.Request, web.Application]


def pytest_itemcollected(item: pytest.Item) -> None:
    """Real processes come first, since they wait for long, and a file's on one worker.

    A group is begun before single tests are, and a file's tests share a database.
    """
    if END_TO_END in item.path.parents:
        item.add_marker(pytest.mark.xdist_group(item.path.stem))


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """A PostgreSQL server that lives as long as the test run."""
    given = os.environ.get("TEST_DATABASE_URL")
    if given:
        yield given
        return
    # Not in pytest's folder, which every other run of pytest closes to all but its user
    # when it starts, and so to the account that the server runs as for root.
    with tempfile.TemporaryDirectory(
        prefix="ledger-tests-", dir=quick_folder()
    ) as folder:
        server = EmbeddedPostgres(Path(folder), settings=SERVER_SETTINGS)
        yield server.start()
        server.stop()


Administer = Callable[[str], None]


@pytest.fixture(scope="session")
def administer(server_url: str) -> Iterator[Administer]:
    """Runs a statement as the server's administrator, on one connection for all."""
    # With a loop of its own, which no test's loop meets: only one of them runs.
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        url = at_database(server_url, "postgres")
        connection: Connection = runner.run(asyncpg.connect(url))

        def run(statement: str) -> None:
            runner.run(connection.execute(statement))

        yield run
        runner.run(connection.close())


@pytest.fixture(scope="session")
def template(server_url: str, administer: Administer) -> Iterator[str]:
    """The name of a database with every table and no event."""

    async def migrate() -> None:
        connection = await asyncpg.connect(at_database(server_url, name))
        await migrate_all(connection)
        await connection.close()

    name = f"ledger_template_{os.getpid()}"
    administer(f"CREATE DATABASE {name} TEMPLATE template0")
    asyncio.run(migrate())
    yield name
    administer(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def dsn(server_url: str, template: str, administer: Administer) -> Iterator[str]:
    """A database of this test's own, migrated and empty."""
    name = f"ledger_test_{os.getpid()}_{next(_numbers)}"
    # Without fsync a copy of the files is ten times faster than a copy in the log.
    administer(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
    yield at_database(server_url, name)
    administer(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def settings(dsn: str, tmp_path: Path) -> Settings:
    """Settings for this test's database, with short waits."""
    return settings_for(dsn, LEDGER_DATA_DIR=str(tmp_path))


def settings_for(dsn: str, **more: str) -> Settings:
    """Settings as an operator would give them, for a database."""
    return Settings.from_mapping(
        {
            "DATABASE_URL": dsn,
            "PUBLIC_URL": PUBLIC_URL,
            "TWILIO_ACCOUNT_SID": ACCOUNT_SID,
            "TWILIO_AUTH_TOKEN": AUTH_TOKEN,
            "LEDGER_ADMIN_KEY": ADMIN_KEY,
            "LEDGER_MASTER_KEY": MASTER_KEY,
            "LEDGER_POLL_SECONDS": "0.2",
            "LEDGER_APPEND_TIMEOUT_SECONDS": "2",
            "LEDGER_WAIT_SECONDS_MAX": "5",
            # A text is one event or none, whose position is easy to tell; the tests of
            # messages, and those of real processes, are with it.
            "LEDGER_RECORD_MESSAGES": "false",
            **more,
        }
    )


@pytest.fixture
async def pool(dsn: str, settings: Settings) -> AsyncIterator[Pool]:
    """A pool on this test's database."""
    async with await open_pool(dsn, settings, application="test") as pool:
        yield pool


@pytest.fixture
def keyring(pool: Pool) -> Keyring:
    """The keys of this test's ledger."""
    return Keyring(pool, MASTERS)


@pytest.fixture
def store(pool: Pool) -> PostgresEventStore:
    """The event store on this test's database."""
    return PostgresEventStore(pool)


@pytest.fixture
async def handler(
    store: PostgresEventStore, keyring: Keyring, settings: Settings
) -> AsyncIterator[CommandHandler]:
    """The command handler of one process."""
    async with CommandHandler(store, keyring, settings) as handler:
        yield handler


@pytest.fixture
def erasures(pool: Pool, store: PostgresEventStore, keyring: Keyring) -> Erasures:
    """What erases, holds and releases."""
    return Erasures(pool, store, keyring)


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[Connection]:
    """A plain connection, for looking behind the store's back."""
    opened = await asyncpg.connect(dsn)
    yield opened
    await opened.close()


class Shipped(TestServer):
    """Runs an application as ``serve`` does."""

    async def _make_runner(self, **kwargs: Any) -> web.AppRunner:
        return Runner(self.app, **kwargs)


@pytest.fixture
def aiohttp_client(
    aiohttp_client: Callable[[TestServer], Awaitable[Client]],
) -> Callable[[web.Application], Awaitable[Client]]:
    """Clients of applications that are run as ``serve`` runs its own."""
    return lambda application: aiohttp_client(Shipped(application))


@pytest.fixture
async def client(
    dsn: str, settings: Settings, aiohttp_client: Callable[..., Awaitable[Client]]
) -> Client:
    """A client of the whole web application; no projector runs beside it."""
    return await aiohttp_client(await make_app(dsn, settings))


class Pauses:
    """Waits between two attempts that are noted, and not waited for."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        """Go on at once."""
        self.seconds.append(seconds)


@pytest.fixture
def pauses() -> Pauses:
    """The waits between two calls of Twilio's."""
    return Pauses()


@pytest.fixture
def account() -> Account:
    """What the stand-in for Twilio has of ours."""
    return Account(ACCOUNT_SID, [AUTH_TOKEN])


@pytest.fixture
async def standin(account: Account) -> AsyncIterator[StandIn]:
    """The stand-in for Twilio's REST API, listening."""
    async with StandIn(account) as standin:
        yield standin


CatchUp = Callable[[], Awaitable[None]]


@pytest.fixture
def means(
    dsn: str,
    settings: Settings,
    pool: Pool,
    store: PostgresEventStore,
    keyring: Keyring,
) -> Means:
    """What a worker works with, on this test's database; nobody rings its bell."""
    bell = Doorbell(dsn, "nothing", poll_seconds=0.05)
    return Means(dsn, pool, store, keyring, bell, settings)


@pytest.fixture
def catch_up(means: Means) -> CatchUp:
    """Bring every projection up to date, and return when they are."""

    async def run() -> None:
        await Worker(PROJECTIONS, means).catch_up()

    return run


@pytest.fixture
async def projector(dsn: str, means: Means) -> AsyncIterator[None]:
    """Every projection kept up to date while the test runs."""
    async with Doorbell(dsn, "ledger_events", poll_seconds=0.2) as bell:
        worker = Worker(PROJECTIONS, replace(means, doorbell=bell))
        task = asyncio.create_task(worker.run())
        await bell.listening.wait()
        yield
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """Return once ``condition`` holds, looked at every few milliseconds for 10 s."""
    async with asyncio.timeout(10):
        while not await condition():  # noqa: ASYNC110 - it is in another process
            await asyncio.sleep(0.005)


def at_database(server_url: str, name: str) -> str:
    """The same server's URL, for another database."""
    parts = urlsplit(server_url)
    # urlunsplit drops the empty host of a socket's URL.
    url = urlunsplit((parts.scheme, parts.netloc, f"/{name}", parts.query, ""))
    return url if parts.netloc else url.replace(":/", ":///", 1)
