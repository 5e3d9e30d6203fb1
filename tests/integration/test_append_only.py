"""What the database itself refuses, to its owner too, and how its sessions commit."""

from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import pytest
from builders import entry, signal_key

from ledger.domain.ids import Position, SubjectId
from ledger.settings import Settings
from ledger.store.database import Connection, connect, open_pool
from ledger.store.event_store import Appended
from ledger.store.postgres import PostgresEventStore

SOMEBODY, OTHER = SubjectId(UUID(int=1)), SubjectId(UUID(int=2))
INSERT = (
    "INSERT INTO ledger_events "
    "(originator_id, originator_version, topic, state, notification_id) "
    "VALUES ($1, $2, 'topic', '', $3)"
)
CHANGES = [
    "UPDATE ledger_events SET topic = 'changed'",
    "UPDATE ledger_events SET topic = topic WHERE false",
    "DELETE FROM ledger_events",
    "DELETE FROM ledger_events WHERE notification_id = 1",
    "TRUNCATE ledger_events",
    "TRUNCATE ledger_events, signal_keys, ledger_position CASCADE",
    "MERGE INTO ledger_events USING (SELECT 1) AS s ON true WHEN MATCHED THEN DELETE",
    """INSERT INTO ledger_events SELECT * FROM ledger_events
    ON CONFLICT (notification_id) DO UPDATE SET topic = 'changed'""",
    "WITH changed AS (DELETE FROM ledger_events RETURNING 1) SELECT * FROM changed",
    "UPDATE signal_keys SET position = 2",
    "DELETE FROM signal_keys",
    "TRUNCATE signal_keys",
    "DELETE FROM ledger_position",
    "TRUNCATE ledger_position",
    "DELETE FROM identity_key",
    "TRUNCATE identity_key",
    "TRUNCATE subject_keys",
    "UPDATE erased_subjects SET status = 'unknown'",
    "DELETE FROM erased_subjects",
    "TRUNCATE erased_subjects",
]

GUARDED = (
    "ledger_events",
    "signal_keys",
    "ledger_position",
    "identity_key",
    "subject_keys",
    "erased_subjects",
)


async def refusal_of(connection: Connection, statement: str) -> str:
    """What the database says to a statement; empty where it did it."""
    try:
        await connection.execute(statement)
    except asyncpg.RestrictViolationError as error:
        return str(error)
    return ""


async def test_the_ledger_is_append_only_for_its_owner_too(
    store: PostgresEventStore, connection: Connection
) -> None:
    """What was recorded is neither changed nor removed, in no way that SQL has."""
    await store.append([entry(SOMEBODY)])
    said = {each: await refusal_of(connection, each) for each in CHANGES}
    assert [each for each in CHANGES if "append-only" not in said[each]] == []
    [recorded] = await store.read_after(Position(0), 9)
    assert recorded.event.subject_id == SOMEBODY


async def test_without_its_trigger_an_event_can_be_changed(
    store: PostgresEventStore, connection: Connection
) -> None:
    """So it is the trigger that refuses, and the test above can fail."""
    await store.append([entry(SOMEBODY)])
    disable = "ALTER TABLE {} DISABLE TRIGGER ALL"
    for table in GUARDED:
        await connection.execute(disable.format(table))
    said = {each: await refusal_of(connection, each) for each in CHANGES}
    assert set(said.values()) == {""}


@pytest.mark.parametrize(
    ("statement", "arguments", "constraint"),
    [
        (INSERT, (SOMEBODY, 1, 2), "ledger_events_version_is_taken_once"),
        (INSERT, (SOMEBODY, 2, 1), "ledger_events_notification_id_idx"),
        (INSERT, (OTHER, 0, 2), "ledger_events_version_starts_at_one"),
        (
            "INSERT INTO signal_keys VALUES ($1, 2)",
            (signal_key("key"),),
            "signal_keys_signal_counts_once",
        ),
        ("INSERT INTO ledger_position VALUES (true, 1, now())", (), "position_pkey"),
        ("INSERT INTO ledger_position VALUES (false, 1, now())", (), "is_one_row"),
        (
            "UPDATE ledger_position SET position = NULL",
            (),
            'null value in column "position"',
        ),
        (
            "INSERT INTO subject_keys VALUES ($1, '', '')",
            (SOMEBODY,),
            "subject_keys_subject_has_one",
        ),
        ("INSERT INTO identity_key VALUES (false, '', '')", (), "is_one_row"),
        (
            "INSERT INTO erased_subjects VALUES ($1, 'in', now(), 1)",
            (SOMEBODY,),
            "erased_subjects_status_is_known",
        ),
    ],
)
async def test_what_the_domain_assumes_the_database_guards(
    store: PostgresEventStore,
    connection: Connection,
    statement: str,
    arguments: tuple[object, ...],
    constraint: str,
) -> None:
    """A version, a position and a key are taken once; there is one counter."""
    await store.append([entry(SOMEBODY, key="key")])
    with pytest.raises(asyncpg.IntegrityConstraintViolationError, match=constraint):
        await connection.execute(statement, *arguments)


@pytest.fixture
async def role(connection: Connection) -> AsyncIterator[str]:
    """A role of the server that may do nothing yet."""
    name = await connection.fetchval("SELECT current_database() || '_service'")
    await connection.execute(f"CREATE ROLE {name} LOGIN")
    yield str(name)
    await connection.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


async def test_a_service_needs_no_more_than_select_and_insert_on_events(
    dsn: str, connection: Connection, settings: Settings, role: str
) -> None:
    """The rights that the documentation names are enough to record."""
    await connection.execute(
        "GRANT SELECT, INSERT ON ledger_events, signal_keys, subject_keys "
        f"TO {role};"
        f"GRANT SELECT ON evidence_keys TO {role};"
        f"GRANT SELECT, UPDATE ON ledger_position TO {role}"
    )
    as_role = f"{dsn}{'&' if '?' in dsn else '?'}role={role}"
    async with await open_pool(as_role, settings, application="test") as pool:
        store = PostgresEventStore(pool)
        [outcome] = await store.append([entry(SOMEBODY)])
        assert isinstance(outcome, Appended)
        assert len(await store.read_after(Position(0), 9)) == 1
        for change in ("UPDATE ledger_events SET topic = ''", "TRUNCATE signal_keys"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await pool.execute(change)


@pytest.mark.parametrize("value", ["off", "local", "remote_write"])
async def test_acknowledged_means_durable_whatever_the_servers_default_is(
    dsn: str, connection: Connection, settings: Settings, value: str
) -> None:
    """Every session of ours commits with synchronous_commit=on."""
    name = await connection.fetchval("SELECT current_database()")
    alter = f"ALTER DATABASE {name} SET synchronous_commit = '{value}'"
    await connection.execute(alter)
    show = "SHOW synchronous_commit"
    plain = await asyncpg.connect(dsn)
    assert await plain.fetchval(show) == value
    await plain.close()
    async with await open_pool(dsn, settings, application="test") as pool:
        assert await pool.fetchval(show) == "on"
        # It stays so on a connection that comes back from the pool.
        assert await pool.fetchval(show) == "on"
    single = await connect(dsn, application="test")
    assert await single.fetchval(show) == "on"
    await single.close()
