"""schemathesis calls every operation, and each answer is one that is described.

Always the same calls: what is sent is derived from the description alone, so a failure
is somebody's change and not chance. A deeper search is ``EXAMPLES_MAX`` away.
"""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any, Final

import asyncpg
import hypothesis
import pytest
import requests
import schemathesis
from aiohttp import web
from builders import ACCOUNT_SID, AUTH_TOKEN, MASTERS, NUMBER, bearer
from conftest import at_database, settings_for
from schemathesis.checks import not_a_server_error
from schemathesis.config import (
    ChecksConfig,
    GenerationConfig,
    NotAServerErrorConfig,
    ProjectConfig,
    ProjectsConfig,
)
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from twilio_api.documents import Account
from twilio_api.standin import StandIn

from ledger.api.openapi import document
from ledger.app import make_app
from ledger.settings import Settings
from ledger.store.database import open_pool
from ledger.store.keyring import Keyring
from ledger.store.postgres import PostgresEventStore
from ledger.store.subscription import Doorbell
from projections.app import PROJECTIONS
from projections.worker import Means, Worker

EXAMPLES_MAX: Final = 15
CHECKS: Final = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
DATABASE: Final = "ledger_schemathesis"

# 503 is an answer: not ready, or not projected yet. So is 502: Twilio refuses a text.
EXPECTED = NotAServerErrorConfig(expected_statuses=["2XX", "3XX", "4XX", "502", "503"])
PROJECT = ProjectConfig(
    generation=GenerationConfig(deterministic=True),
    checks=ChecksConfig(not_a_server_error=EXPECTED),
)
CONFIG = schemathesis.Config(projects=ProjectsConfig(default=PROJECT))

# HEAD is GET without a body, and an alias is the same handler: tested elsewhere.
schema = (
    schemathesis.openapi.from_dict(document(), config=CONFIG)
    .exclude(method="HEAD")
    .exclude(path="/twilio/incoming-message")
)


@pytest.fixture(scope="module")
def service(
    server_url: str, template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The whole application and its projections, in a thread; where it listens."""
    asyncio.run(
        _administrate(server_url, f"CREATE DATABASE {DATABASE} TEMPLATE {template}")
    )
    dsn = at_database(server_url, DATABASE)
    settings = settings_for(
        dsn,
        LEDGER_DATA_DIR=str(tmp_path_factory.mktemp("data")),
        LEDGER_WAIT_SECONDS_MAX="0.05",
        LEDGER_POLL_SECONDS="0.1",
    )
    thread = _Service(dsn, settings)
    thread.start()
    thread.ready.wait()
    requests.put(
        f"{thread.url}/PhoneNumbers/{NUMBER}",
        json={"status": "in"},
        headers=bearer(),
        timeout=10,
    ).raise_for_status()
    yield thread.url
    thread.stop()
    asyncio.run(_administrate(server_url, f"DROP DATABASE {DATABASE} WITH (FORCE)"))


class _Service(threading.Thread):
    """A server that runs until it is stopped."""

    def __init__(self, dsn: str, settings: Settings) -> None:
        super().__init__(daemon=True)
        self._dsn = dsn
        self._settings = settings
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self.ready = threading.Event()
        self.url = ""

    def run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    def stop(self) -> None:
        """End it, and return when it has ended."""
        self._loop.call_soon_threadsafe(self._stopping.set)
        self.join()

    async def _serve(self) -> None:
        async with StandIn(Account(ACCOUNT_SID, [AUTH_TOKEN])) as standin:
            await self._serve_with(standin.url)

    async def _serve_with(self, twilio_url: str) -> None:
        settings = self._settings.model_copy(update={"twilio_api_url": twilio_url})
        runner = web.AppRunner(await make_app(self._dsn, settings))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0]
        self.url = f"http://{host}:{port}"
        async with (
            await open_pool(self._dsn, self._settings, application="test") as pool,
            Doorbell(self._dsn, "ledger_events", poll_seconds=0.1) as bell,
        ):
            store, keyring = PostgresEventStore(pool), Keyring(pool, MASTERS)
            means = Means(self._dsn, pool, store, keyring, bell, self._settings)
            running = asyncio.create_task(Worker(PROJECTIONS, means).run())
            await bell.listening.wait()
            self.ready.set()
            await self._stopping.wait()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        await runner.cleanup()


async def _administrate(server_url: str, statement: str) -> None:
    connection = await asyncpg.connect(at_database(server_url, "postgres"))
    await connection.execute(statement)
    await connection.close()


@schema.parametrize()
@hypothesis.settings(
    max_examples=EXAMPLES_MAX,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(hypothesis.HealthCheck),
)
def test_what_is_answered_is_what_is_described(
    case: schemathesis.Case[Any], service: str
) -> None:
    """Whatever is sent, the answer's status, type, headers and shape are described."""
    headers = bearer() if case.operation.definition.raw["security"] else {}
    case.call_and_validate(base_url=service, headers=headers, checks=CHECKS)
