"""From nothing to this release's schema, once, and never past it."""

import asyncio
import itertools
import os
import re
import sys
from collections.abc import AsyncIterator

import asyncpg
import pytest
from builders import ACCOUNT_SID, AUTH_TOKEN, MASTERS, NUMBER, entry
from conftest import at_database

from ledger.domain.ids import Position
from ledger.errors import SchemaMismatch
from ledger.migrations import check_schema, migrate, migrations
from ledger.settings import Settings
from ledger.store.database import Connection, open_pool
from ledger.store.keyring import Keyring
from ledger.store.postgres import PostgresEventStore
from projections.app import migrate_all

NAMES = [migration.name for migration in migrations()]
APPLIED = "SELECT number, name FROM schema_migrations ORDER BY number"
TABLES = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
LOCKS = """SELECT l.* FROM pg_locks AS l JOIN pg_database AS d ON d.oid = l.database
    WHERE l.locktype = 'advisory' AND d.datname = current_database()"""
LATER = "INSERT INTO schema_migrations (number, name) VALUES (9999, '9999_later.sql')"
_numbers = itertools.count(1)


@pytest.fixture
async def empty_dsn(server_url: str) -> AsyncIterator[str]:
    """A database in which there is nothing."""
    name = f"ledger_empty_{os.getpid()}_{next(_numbers)}"
    admin = await asyncpg.connect(at_database(server_url, "postgres"))
    await admin.execute(f"CREATE DATABASE {name} TEMPLATE template0 STRATEGY file_copy")
    yield at_database(server_url, name)
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


@pytest.fixture
async def empty(empty_dsn: str) -> AsyncIterator[Connection]:
    """A connection to it."""
    opened = await asyncpg.connect(empty_dsn)
    yield opened
    await opened.close()


async def rows_of(connection: Connection, query: str) -> list[tuple[object, ...]]:
    """What a query finds."""
    return [tuple(row) for row in await connection.fetch(query)]


def test_the_steps_are_numbered_from_one_without_a_gap() -> None:
    """Their names say what they do, and their numbers are their order."""
    numbers = [migration.number for migration in migrations()]
    assert numbers == list(range(1, len(numbers) + 1))
    assert all(re.fullmatch(r"\d{4}_[a-z_]+\.sql", name) for name in NAMES)


async def test_an_empty_database_is_brought_to_this_release(
    empty: Connection, empty_dsn: str, settings: Settings
) -> None:
    """Every step is applied, in order, and noted; then the ledger can be written."""
    assert await migrate(empty) == NAMES
    expected = [(migration.number, migration.name) for migration in migrations()]
    assert await rows_of(empty, APPLIED) == expected
    await check_schema(empty)
    async with await open_pool(empty_dsn, settings, application="test") as pool:
        identity, store = (
            await Keyring(pool, MASTERS).identity(),
            PostgresEventStore(pool),
        )
        await store.append([entry(identity.subject_id(NUMBER))])
        assert await store.last_position() == 1


async def test_doing_it_again_changes_nothing(empty: Connection) -> None:
    """Neither the schema nor the secret of the subject ids."""
    await migrate_all(empty)
    identity = await Keyring(empty, MASTERS).identity()
    tables = await rows_of(empty, TABLES)
    assert await migrate_all(empty) == []
    again = await Keyring(empty, MASTERS).identity()
    assert again.subject_id(NUMBER) == identity.subject_id(NUMBER)
    assert await rows_of(empty, TABLES) == tables


async def test_several_connections_at_once_apply_each_step_once(
    empty_dsn: str, empty: Connection
) -> None:
    """Whoever is first with a step does it, and the others find it done."""
    connections = [await asyncpg.connect(empty_dsn) for _ in range(5)]
    applied = await asyncio.gather(*map(migrate_all, connections))
    for connection in connections:
        await connection.close()
    done = [name for names in applied for name in names]
    assert sorted(done) == sorted({*done})
    assert {*NAMES} < {*done}
    assert len(await rows_of(empty, APPLIED)) == len(NAMES)


async def test_two_processes_at_once_are_safe(
    empty_dsn: str, empty: Connection
) -> None:
    """Both say that it is done, and one of them did it."""
    environment = {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": empty_dsn,
        "TWILIO_ACCOUNT_SID": ACCOUNT_SID,
        "TWILIO_AUTH_TOKEN": AUTH_TOKEN,
    }
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "ledger",
            "migrate",
            env=environment,
            stdout=asyncio.subprocess.PIPE,
        )
        for _ in range(2)
    ]
    async with asyncio.timeout(60):
        said = [(await process.communicate())[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert sorted(NAMES[0].encode() in each for each in said) == [False, True]
    assert any(b"nothing to do" in each for each in said)
    await check_schema(empty)


async def test_a_newer_schema_is_refused_and_left_alone(empty: Connection) -> None:
    """It was migrated by a release that knows more than this one."""
    await migrate_all(empty)
    await empty.execute(LATER)
    tables = await rows_of(empty, TABLES)
    for refused in (migrate, check_schema):
        with pytest.raises(SchemaMismatch, match=r"at migration 9999.*newer release"):
            await refused(empty)
    assert await rows_of(empty, TABLES) == tables
    assert await rows_of(empty, LOCKS) == []


async def test_an_empty_database_is_refused_with_what_to_run(empty: Connection) -> None:
    """A service does not guess that it may make tables."""
    with pytest.raises(SchemaMismatch, match=r"at migration 0.*consent-ledger migrate"):
        await check_schema(empty)


async def test_an_older_schema_is_refused_with_what_to_run(empty: Connection) -> None:
    """Until it is migrated."""
    await migrate(empty)
    await empty.execute("DELETE FROM schema_migrations WHERE number > 1")
    with pytest.raises(SchemaMismatch, match=r"at migration 1.*consent-ledger migrate"):
        await check_schema(empty)


async def test_a_database_of_an_unreleased_version_is_refused(
    empty: Connection,
) -> None:
    """Its tables have other columns under the same number: nothing is guessed."""
    await migrate_all(empty)
    await empty.execute(
        "UPDATE schema_migrations SET name = '0001_events.sql' WHERE number = 1"
    )
    for refused in (migrate, check_schema):
        with pytest.raises(SchemaMismatch, match=r"0001_events\.sql.*LEDGER_DATA_DIR"):
            await refused(empty)
    assert await rows_of(empty, LOCKS) == []


async def test_a_step_that_fails_leaves_nothing_behind(empty: Connection) -> None:
    """The steps before it stay, the lock is free, and it can be tried again."""
    await empty.execute("CREATE TABLE api_keys (in_the_way text)")
    with pytest.raises(asyncpg.DuplicateTableError):
        await migrate(empty)
    assert await rows_of(empty, APPLIED) == [(1, NAMES[0])]
    await empty.execute("DROP TABLE api_keys")
    assert await migrate(empty) == NAMES[1:]
    await check_schema(empty)


async def test_each_database_has_a_secret_of_its_own(
    empty: Connection, keyring: Keyring
) -> None:
    """One ledger's subject ids say nothing of another's, with one master key too."""
    await migrate(empty)
    identities = [await Keyring(empty, MASTERS).identity(), await keyring.identity()]
    assert len({identity.subject_id(NUMBER) for identity in identities}) == 2


async def test_the_ledger_begins_at_position_zero(
    store: PostgresEventStore,
) -> None:
    """The first event is the first."""
    assert await store.last_position() == 0
    assert await store.read_after(Position(0), 10) == []
