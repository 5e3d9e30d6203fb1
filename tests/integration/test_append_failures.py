"""Every write fails before it persists and after it persists.

Two tables in one: what the caller of the store sees, and what is in the ledger then;
and what becomes of a signal whose write has failed once, or goes on failing.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import pytest
from builders import entry, signal, signal_key
from conftest import eventually, settings_for
from wire import Moment, Wire

from ledger.command_handler import CommandHandler, Receipt
from ledger.domain.ids import PhoneNumber, Position, SubjectId
from ledger.errors import StoreUnavailable
from ledger.store.database import Connection, Pool, open_pool, translated
from ledger.store.event_store import Appended, Duplicate
from ledger.store.keyring import Keyring
from ledger.store.postgres import PostgresEventStore

FOR_EVER: Final = 10**9
NAMES: Final = ("key", *(f"key {n}" for n in range(200)))
WAITING: Final = (
    "FROM pg_stat_activity WHERE datname = current_database() "
    "AND wait_event_type = 'Lock'"
)
TERMINATE: Final = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE "
    "datname = current_database() AND pid <> pg_backend_pid()"
)


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong in an append, at one moment."""

    name: str
    error: type[Exception] = StoreUnavailable
    is_recorded: bool = False
    lost: Moment | None = None
    sql: str = ""
    when: Literal["insert", "commit"] = "insert"

    async def begin(self, connection: Connection, wire: Wire, times: int) -> None:
        """Let it happen to the next appends."""
        if self.lost:
            wire.lose(self.lost, times)
            return
        deferred = "DEFERRABLE INITIALLY DEFERRED" if self.when == "commit" else ""
        # A sequence is not rolled back, so it counts what has failed.
        await connection.execute(f"""
            CREATE SEQUENCE fault_count;
            CREATE FUNCTION fault() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                IF nextval('fault_count') <= {times} THEN {self.sql}; END IF;
                RETURN NULL;
            END $$;
            CREATE CONSTRAINT TRIGGER fault AFTER INSERT ON ledger_events {deferred}
                FOR EACH ROW EXECUTE FUNCTION fault()""")

    async def end(self, connection: Connection, wire: Wire) -> None:
        """Repair it."""
        wire.lose("request", 0)
        await connection.execute("DROP TRIGGER IF EXISTS fault ON ledger_events")


def raising(sqlstate: str) -> str:
    """PL/pgSQL that fails in one way."""
    return f"RAISE EXCEPTION 'made by a test' USING ERRCODE = '{sqlstate}'"


DIES = "PERFORM pg_terminate_backend(pg_backend_pid()), pg_sleep(10)"
FAULTS = [
    Fault("the request is lost", lost="request"),
    Fault("the answer is lost", lost="answer", is_recorded=True),
    Fault("the backend dies in the insert", sql=DIES),
    Fault("the backend dies in the commit", sql=DIES, when="commit"),
    Fault("the disk is full in the insert", sql=raising("53100")),
    Fault("the disk is full in the commit", sql=raising("53100"), when="commit"),
    Fault("the server shuts down", sql=raising("57P01"), when="commit"),
    Fault("the transaction is read-only", sql=raising("25006")),
    Fault("the commit is not serializable", sql=raising("40001"), when="commit"),
    Fault("there is a deadlock", sql=raising("40P01")),
    Fault("the disk fails", sql=raising("58030")),
    Fault("our insert is wrong", error=asyncpg.RaiseError, sql=raising("P0001")),
    Fault(
        "our commit is wrong",
        error=asyncpg.RaiseError,
        sql=raising("P0001"),
        when="commit",
    ),
]
PASSING = [fault for fault in FAULTS if fault.error is StoreUnavailable]
of_each = pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
of_passing = pytest.mark.parametrize("fault", PASSING, ids=lambda fault: fault.name)


@pytest.fixture
async def wire(dsn: str) -> AsyncIterator[Wire]:
    """A way to this test's database."""
    wire = Wire(dsn)
    await wire.open()
    yield wire
    await wire.close()


@pytest.fixture
async def pool(wire: Wire) -> AsyncIterator[Pool]:
    """A pool of the service, by that way."""
    settings = settings_for(wire.dsn, LEDGER_STATEMENT_TIMEOUT_SECONDS="0.5")
    async with await open_pool(wire.dsn, settings, application="test") as pool:
        yield pool


@pytest.fixture
async def handler(
    wire: Wire, store: PostgresEventStore, keyring: Keyring
) -> AsyncIterator[CommandHandler]:
    """A command handler that gives up soon; it has recorded position 1, of another."""
    settings = settings_for(wire.dsn, LEDGER_APPEND_TIMEOUT_SECONDS="0.2")
    async with CommandHandler(store, keyring, settings) as handler:
        await handler.handle(signal(phone_number=PhoneNumber("+14155550109")))
        yield handler


async def keys_in(connection: Connection, keyring: Keyring | None = None) -> list[str]:
    """The ledger's keys, once its events, keys and counter are seen to agree.

    By the names that they were given, to the store itself or through a handler.
    """
    rows = await connection.fetch(
        "SELECT signal_key, position FROM signal_keys ORDER BY position"
    )
    events = await connection.fetch(
        "SELECT notification_id FROM ledger_events ORDER BY notification_id"
    )
    counter = await connection.fetchval("SELECT position FROM ledger_position")
    positions = [row["position"] for row in rows]
    assert positions == [row[0] for row in events] == list(range(1, counter + 1))
    made_by = (await keyring.identity()).signal_key if keyring else signal_key
    names = {made_by(name): name for name in NAMES}
    return [names.get(row["signal_key"], "another") for row in rows]


@of_each
async def test_a_write_that_fails(
    fault: Fault, store: PostgresEventStore, connection: Connection, wire: Wire
) -> None:
    """The caller gets an error, and the ledger has all of the batch or nothing."""
    before, *batch = (entry(SubjectId(uuid4()), key=f"key {n}") for n in range(3))
    await store.append([before])
    await fault.begin(connection, wire, times=1)
    with pytest.raises(fault.error):
        await store.append(batch)
    expected = ["key 0", "key 1", "key 2"] if fault.is_recorded else ["key 0"]
    assert await keys_in(connection) == expected
    outcomes = await store.append(batch)
    kind = Duplicate if fault.is_recorded else Appended
    assert [type(outcome) for outcome in outcomes] == [kind, kind]
    assert await keys_in(connection) == ["key 0", "key 1", "key 2"]


@of_each
async def test_of_an_entry_whose_write_fails_no_half_is_there(
    fault: Fault, store: PostgresEventStore, connection: Connection, wire: Wire
) -> None:
    """What is said of consent, and the text: both, or neither; and later, once."""
    stop = entry(SubjectId(uuid4()), key="key")
    [said] = stop.events
    whole = stop._replace(events=(said, said._replace(stream_id=uuid4())))
    count = "SELECT count(*) FROM ledger_events"
    await fault.begin(connection, wire, times=1)
    with pytest.raises(fault.error):
        await store.append([whole])
    assert await connection.fetchval(count) == (2 if fault.is_recorded else 0)
    [outcome] = await store.append([whole])
    assert isinstance(outcome, Duplicate if fault.is_recorded else Appended)
    assert outcome.position == 1
    assert await connection.fetchval(count) == 2


@of_passing
async def test_a_signal_outlives_a_write_that_fails_once(
    fault: Fault,
    handler: CommandHandler,
    keyring: Keyring,
    connection: Connection,
    wire: Wire,
) -> None:
    """Nobody hears of it, and the signal is recorded exactly once."""
    await fault.begin(connection, wire, times=1)
    receipt = await handler.handle(signal(key="key"))
    assert receipt == Receipt(Position(2), is_new=not fault.is_recorded)
    assert (await keys_in(connection, keyring))[1:] == ["key"]


@of_passing
async def test_a_signal_whose_write_goes_on_failing_is_not_acknowledged(
    fault: Fault,
    handler: CommandHandler,
    keyring: Keyring,
    connection: Connection,
    wire: Wire,
) -> None:
    """At its deadline it is refused; when it comes again, it is recorded once."""
    await fault.begin(connection, wire, times=FOR_EVER)
    same = signal(key="key")
    with pytest.raises(StoreUnavailable):
        await handler.handle(same)
    expected = ["key"] if fault.is_recorded else []
    assert (await keys_in(connection, keyring))[1:] == expected
    await fault.end(connection, wire)
    receipt = await handler.handle(same)
    assert receipt == Receipt(Position(2), is_new=not fault.is_recorded)
    assert (await keys_in(connection, keyring))[1:] == ["key"]


@pytest.mark.parametrize("when", ["insert", "commit"])
async def test_a_fault_of_ours_is_seen_and_not_waited_out(
    when: Literal["insert", "commit"],
    handler: CommandHandler,
    keyring: Keyring,
    connection: Connection,
    wire: Wire,
) -> None:
    """Trying again would not help; the next signals are recorded."""
    fault = Fault("ours", sql=raising("P0001"), when=when)
    await fault.begin(connection, wire, times=1)
    with pytest.raises(asyncpg.RaiseError):
        await handler.handle(signal(key="key"))
    assert (await keys_in(connection, keyring))[1:] == []
    assert (await handler.handle(signal(key="next"))).position == 2


async def test_a_service_starts_while_its_database_is_down(
    wire: Wire, keyring: Keyring, store: PostgresEventStore, connection: Connection
) -> None:
    """It records what it accepted as soon as the database is up."""
    wire.is_down = True
    settings = settings_for(wire.dsn)
    async with CommandHandler(store, keyring, settings) as handler:
        handling = asyncio.create_task(handler.handle(signal(key="key")))
        with pytest.raises(StoreUnavailable):
            await store.last_position()
        assert not handling.done()
        wire.is_down = False
        assert await handling == Receipt(Position(1), is_new=True)
    assert await keys_in(connection, keyring) == ["key"]


async def test_a_read_only_database_is_no_place_to_record(
    dsn: str,
    handler: CommandHandler,
    keyring: Keyring,
    connection: Connection,
    wire: Wire,
) -> None:
    """Nothing is acknowledged, and the service recovers without a restart."""
    name = urlsplit(dsn).path[1:]
    alter = f"ALTER DATABASE {name} SET default_transaction_read_only = on"
    await connection.execute(alter)
    wire.cut()
    same = signal(key="key")
    with pytest.raises(StoreUnavailable, match="read-only"):
        await handler.handle(same)
    assert (await keys_in(connection, keyring))[1:] == []
    await connection.execute(f"ALTER DATABASE {name} RESET ALL")
    assert await handler.handle(same) == Receipt(Position(2), is_new=True)


@pytest.fixture
async def appending(
    store: PostgresEventStore, dsn: str, connection: Connection
) -> AsyncIterator[asyncio.Task[object]]:
    """An append that waits for the counter, which somebody holds until this ends."""
    holder = await asyncpg.connect(dsn)
    async with holder.transaction():
        await holder.execute("SELECT * FROM ledger_position FOR UPDATE")
        task: asyncio.Task[object] = asyncio.create_task(
            store.append([entry(SubjectId(uuid4()), key="key")])
        )
        await eventually(lambda: waits_for_the_counter(connection))
        yield task
    await holder.close()


async def waits_for_the_counter(connection: Connection) -> bool:
    """Whether an append waits for another one's commit."""
    return bool(await connection.fetchval(f"SELECT count(*) {WAITING}"))


async def test_an_append_that_takes_too_long_is_given_up(
    appending: asyncio.Task[object], connection: Connection
) -> None:
    """And is not done behind the caller's back."""
    with pytest.raises(StoreUnavailable):
        await appending
    assert not await waits_for_the_counter(connection)
    assert await keys_in(connection) == []


async def test_an_append_whose_backend_is_terminated_is_not_done(
    appending: asyncio.Task[object], connection: Connection
) -> None:
    """An operator may do so at any time."""
    await connection.execute(f"SELECT pg_terminate_backend(pid) {WAITING}")
    with pytest.raises(StoreUnavailable):
        await appending
    assert await keys_in(connection) == []


async def test_an_append_that_is_cancelled_is_not_done_later(
    appending: asyncio.Task[object], connection: Connection, store: PostgresEventStore
) -> None:
    """Its connection is good for nothing or free, and the same may be appended."""
    appending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await appending
    await eventually(lambda: nobody_waits(connection))
    assert await keys_in(connection) == []
    assert await store.last_position() == 0


async def nobody_waits(connection: Connection) -> bool:
    """Whether the counter is free for the next one."""
    return not await waits_for_the_counter(connection)


async def test_a_connection_that_is_terminated_while_idle_is_an_outage(
    store: PostgresEventStore, connection: Connection
) -> None:
    """Whatever asyncpg says of it, it is never taken for a fault of ours."""
    for _ in range(50):
        terminating = asyncio.create_task(connection.execute(TERMINATE))
        while not terminating.done():
            with suppress(StoreUnavailable):
                await store.last_position()
        with suppress(StoreUnavailable):
            await store.last_position()
    assert await store.last_position() == 0


async def test_nothing_acknowledged_is_lost_on_a_bad_wire(
    handler: CommandHandler, keyring: Keyring, connection: Connection, wire: Wire
) -> None:
    """Whatever is cut at whatever moment, each signal is there once, or refused."""
    keys = NAMES[1:]
    waiting = set(keys)

    async def send(n: int, key: str) -> bool:
        number = PhoneNumber(f"+1415555{n % 50:04}")
        try:
            await handler.handle(signal(key=key, phone_number=number))
        except StoreUnavailable:
            return False
        finally:
            waiting.discard(key)
        return True

    sending = [asyncio.create_task(send(n, key)) for n, key in enumerate(keys)]
    for rest in range(180, 0, -20):
        await eventually(partial(has_at_most, rest, waiting))
        wire.lose("answer" if rest % 40 else "request", times=1)
    acknowledged = await asyncio.gather(*sending)
    there = (await keys_in(connection, keyring))[1:]
    assert len(there) == len(set(there))
    missing = [
        k for k, a in zip(keys, acknowledged, strict=True) if a and k not in there
    ]
    assert missing == []
    assert any(acknowledged)


async def has_at_most(count: int, waiting: set[str]) -> bool:
    """Whether so few are left."""
    return len(waiting) <= count


async def test_connections_that_are_terminated_meanwhile_can_be_expired(
    pool: Pool, connection: Connection
) -> None:
    """What gives up its connections gets others, whatever has become of those."""
    for _ in range(50):
        await asyncio.gather(*(pool.fetchval("SELECT 1") for _ in range(5)))
        terminating = asyncio.create_task(connection.execute(TERMINATE))
        while not terminating.done():
            await pool.expire_connections()
            with suppress(StoreUnavailable), translated():
                await pool.fetchval("SELECT 1")
    await pool.expire_connections()
    assert await pool.fetchval("SELECT 1") == 1
