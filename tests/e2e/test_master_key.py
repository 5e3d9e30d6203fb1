"""The master key at a start: made where nothing is set, and never one for another."""

import asyncio
import base64
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import aiohttp
import asyncpg
import pytest
from builders import MASTERS, NUMBER, entry, text_form
from e2e.processes import (
    TWILIO_TIMEOUT,
    Service,
    command_line,
    environment_for,
    free_port,
    new_folder,
    post,
    running,
)

from ledger.master_key import MASTER_KEY_FILE
from ledger.store.database import Connection
from ledger.store.keyring import Keyring
from ledger.store.master import parse_master_keys
from ledger.store.postgres import PostgresEventStore

OTHER_KEY: Final = base64.b64encode(bytes(range(32))).decode()
OTHER: Final = parse_master_keys(OTHER_KEY)
TABLES: Final = (
    "SELECT relname FROM pg_class "
    "WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' ORDER BY 1"
)
# Moved by whoever looks, too.
SEEN_AT: Final = "SELECT name, version, position FROM projections"


async def everything(connection: Connection) -> dict[str, list[str]]:
    """Every row of every table."""
    return {
        table: sorted(
            str(tuple(row))
            for row in await connection.fetch(
                SEEN_AT if table == "projections" else f"SELECT * FROM {table}"  # noqa: S608
            )
        )
        for [table] in await connection.fetch(TABLES)
    }


@pytest.fixture
async def _recorded(store: PostgresEventStore, keyring: Keyring) -> None:
    """A ledger with one event, and its own master key."""
    await store.append([entry((await keyring.identity()).subject_id(NUMBER))])


@pytest.mark.parametrize(
    "command",
    [
        ("serve",),
        ("project",),
        ("erase", NUMBER, "--reason", "asked"),
        ("hold", NUMBER, "--until", "2099-12-31", "--reason", "a suit"),
    ],
    ids=lambda command: command[0],
)
@pytest.mark.usefixtures("_recorded")
async def test_another_master_key_than_the_ledgers_is_refused(
    dsn: str, connection: Connection, tmp_path: Path, command: tuple[str, ...]
) -> None:
    """The exit code is 3, it is said what would be lost, and nothing is written."""
    before = await everything(connection)
    environment = environment_for(tmp_path, free_port()) | {
        "DATABASE_URL": dsn,
        "LEDGER_MASTER_KEY": OTHER_KEY,
    }
    done = await asyncio.to_thread(command_line, environment, *command)
    assert (done.returncode, done.stdout) == (3, "")
    for said in (MASTERS.current, OTHER.current, "is lost", "no STOP can be matched"):
        assert said in done.stderr
    assert OTHER_KEY not in done.stderr
    assert "Traceback" not in done.stderr
    assert await everything(connection) == before
    assert os.listdir(tmp_path) == []  # noqa: PTH208 no file of a key either


@pytest.mark.usefixtures("_recorded")
async def test_a_ledger_whose_identity_is_lost_is_refused(
    dsn: str, connection: Connection, tmp_path: Path
) -> None:
    """With the right master key as well: another identity would know nobody."""
    await connection.execute("ALTER TABLE identity_key DISABLE TRIGGER ALL")
    await connection.execute("DELETE FROM identity_key")
    environment = environment_for(tmp_path, free_port()) | {"DATABASE_URL": dsn}
    done = await asyncio.to_thread(command_line, environment, "serve")
    assert done.returncode == 3
    assert "restore that table" in done.stderr
    assert await connection.fetchval("SELECT count(*) FROM identity_key") == 0


@pytest.fixture
def service() -> Iterator[Service]:
    """A service that was given no master key."""
    with new_folder() as folder:
        environment = {"LEDGER_MASTER_KEY": "", "LEDGER_WORKERS": "1"}
        with running(folder, environment) as service:
            yield service


async def test_a_master_key_is_made_at_the_first_start(service: Service) -> None:
    """Readable by its owner alone, named at each start, and missed when it is gone."""
    await service.ready()
    path = service.folder / MASTER_KEY_FILE
    assert path.stat().st_mode & 0o777 == 0o600
    made = path.read_text()
    assert f"master key   {path} (back it up" in service.log
    async with aiohttp.ClientSession(timeout=TWILIO_TIMEOUT) as session:
        assert (await post(session, service.url, text_form()))[0] == 200
    wrapped_by = await wrapped_with(service.dsn())
    assert wrapped_by == {parse_master_keys(made).current}
    assert service.stop() == 0
    path.unlink()
    service.start()
    assert service.ended() == 3
    assert "is lost" in service.log
    assert service.processes() == []
    path.write_text(made)
    service.start()
    await service.ready()
    assert await wrapped_with(service.dsn()) == wrapped_by
    assert made not in service.log


async def wrapped_with(dsn: str) -> set[str]:
    """The ids of the master keys that wrap this ledger's keys."""
    connection = await asyncpg.connect(dsn)
    rows = await connection.fetch(
        "SELECT master_key FROM identity_key UNION ALL "
        "SELECT master_key FROM subject_keys UNION ALL "
        "SELECT master_key FROM evidence_keys"
    )
    await connection.close()
    assert len(rows) == 3
    return {row[0] for row in rows}
