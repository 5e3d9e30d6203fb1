"""Workers among lost notifications, lost connections and events that cannot be."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Final
from uuid import uuid4

import orjson
import pytest
from builders import MASTERS, NUMBER, signal, subject_key
from conftest import eventually, settings_for
from wire import Wire

from ledger.command_handler import CommandHandler
from ledger.domain.ids import SubjectId, Version
from ledger.errors import StoreUnavailable
from ledger.settings import Settings
from ledger.store.database import Connection, Pool, open_pool, translated
from ledger.store.keyring import Keyring
from ledger.store.postgres import PostgresEventStore
from ledger.store.subscription import Doorbell
from projections import worker as worker_module
from projections.consent_history import ConsentHistory
from projections.phone_numbers import PhoneNumbers
from projections.projection import Batch, Projection
from projections.registry import create_first
from projections.worker import Means, Worker

LONG: Final = 60.0
TOPIC: Final = "ledger.domain.events:ConsentChanged"
STATE: Final[dict[str, object]] = {
    "timestamp": {"_type_": "datetime_iso", "_data_": "2026-01-01T00:00:00+00:00"},
    "occurred_at": {"_type_": "datetime_iso", "_data_": "2026-01-01T00:00:00+00:00"},
    "status": "in",
    "previous_status": "unknown",
    "sender": "*",
    "source": "import",
    "matched_by": "explicit",
    "actor": "test",
    "evidence": "2026-01-01.c2VhbGVk",
}
TO_COME: Final = {"_type_": "datetime_iso", "_data_": "2026-01-02T00:00:00+00:00"}
# What no release of ours writes, and how each projection takes it.
POISONS: Final[dict[str, tuple[str, dict[str, object] | None, str]]] = {
    "unknown topic": ("ledger.domain.events:Unheard", STATE, "UnknownEvent"),
    "later version": (TOPIC, STATE | {"class_version": 9}, "UnknownEvent"),
    "no JSON": (TOPIC, None, "EventBroken"),
    "no sender": (TOPIC, {k: v for k, v in STATE.items() if k != "sender"}, "sender"),
    "no status": (TOPIC, STATE | {"status": None}, "EventBroken"),
    "no time": (TOPIC, STATE | {"occurred_at": None}, "Error"),
}


class Bench:
    """One worker, and what a test wants to see of it."""

    def __init__(
        self, projection: Projection, pool: Pool, bell: Doorbell, settings: Settings
    ) -> None:
        dsn = settings.database_url or ""
        self.projection = projection
        self._pool = pool
        store, keyring = PostgresEventStore(pool), Keyring(pool, MASTERS)
        means = Means(dsn, pool, store, keyring, bell, settings)
        self.task = asyncio.create_task(Worker((projection,), means).run())

    async def state(self) -> tuple[int, str | None]:
        """How far it is, and why it does not go on."""
        row = await self._pool.fetchrow(
            "SELECT position, stopped_reason FROM projections WHERE name = $1",
            self.projection.name,
        )
        assert row is not None
        return row["position"], row["stopped_reason"]

    async def has_reached(self, position: int) -> bool:
        """Whether its table shows that much."""
        return await self.state() == (position, None)

    async def stopped(self) -> str:
        """Why it stopped, once it has."""
        async with asyncio.timeout(20):
            await self.task
        _, reason = await self.state()
        return reason or ""


NewBench = Callable[[Projection], Bench]


@pytest.fixture
async def bench(dsn: str, pool: Pool) -> AsyncIterator[NewBench]:
    """Starts workers that nobody wakes; they are ended with the test."""
    settings = settings_for(dsn, LEDGER_POLL_SECONDS="0.05")
    bell, started = Doorbell(dsn, "nothing", poll_seconds=0.05), []

    def start(projection: Projection) -> Bench:
        started.append(Bench(projection, pool, bell, settings))
        return started[-1]

    yield start
    await ended(started)


async def ended(started: Sequence[Bench]) -> None:
    """Cancel workers, and see that none has failed."""
    for each in started:
        each.task.cancel()
    results = await asyncio.gather(*(b.task for b in started), return_exceptions=True)
    assert all(r is None or isinstance(r, asyncio.CancelledError) for r in results)


async def append(pool: Pool, count: int) -> None:
    """``count`` signals of one number."""
    settings = Settings.from_mapping({})
    store = PostgresEventStore(pool)
    async with CommandHandler(store, Keyring(pool, MASTERS), settings) as handler:
        signals = [signal(status="in" if n % 2 else "out") for n in range(count)]
        await asyncio.gather(*map(handler.handle, signals))


async def poison(
    connection: Connection, topic: str, state: dict[str, object] | None
) -> int:
    """Put an event into the ledger that our store would not; its position.

    Of somebody with a key: an event without one is taken for an erased person's.
    """
    subject_id = SubjectId(uuid4())
    key = subject_key(subject_id)
    sealed = key.seal_number(NUMBER, subject_id, Version(1))
    await connection.execute(
        "INSERT INTO subject_keys VALUES ($1, $2, $3)", subject_id, *key.wrapped
    )
    await connection.execute(
        "INSERT INTO ledger_events (originator_id, originator_version, topic, state, "
        "notification_id) SELECT $1, 1, $2, $3, position + 1 FROM ledger_position",
        subject_id,
        topic,
        b"{" if state is None else orjson.dumps({"phone_number": sealed} | state),
    )
    update = "UPDATE ledger_position SET position = position + 1 RETURNING position"
    return int(await connection.fetchval(update))


async def rows_in(connection: Connection, table: str) -> int:
    """How many there are."""
    return int(await connection.fetchval(f"SELECT count(*) FROM {table}"))  # noqa: S608


# Events that cannot be.


@pytest.mark.parametrize("kind", POISONS)
@pytest.mark.parametrize("projection", [PhoneNumbers(), ConsentHistory()])
async def test_a_poisoned_event_stops_the_projection_where_it_is(
    *,
    bench: NewBench,
    pool: Pool,
    connection: Connection,
    kind: str,
    projection: Projection,
) -> None:
    """Loudly, with everything before it applied and nothing after it."""
    topic, state, error = POISONS[kind]
    await append(pool, 7)
    position = await poison(connection, topic, state)
    await append(pool, 5)
    worker = bench(projection)
    assert error in await worker.stopped()
    assert (await worker.state())[0] == position - 1 == 7
    if projection.name == "consent_history":
        assert await rows_in(connection, "consent_history_v1") == 7


@pytest.mark.parametrize(
    ("wrong", "stops", "goes_on", "reason"),
    [
        ({"phone_number": "AAAA"}, PhoneNumbers(), ConsentHistory(), "SealBroken"),
        (
            {"occurred_at": TO_COME},
            ConsentHistory(),
            PhoneNumbers(),
            "CheckViolationError",
        ),
    ],
)
async def test_one_projections_poison_is_not_anothers(  # noqa: PLR0913
    *,
    bench: NewBench,
    pool: Pool,
    connection: Connection,
    wrong: dict[str, object],
    stops: Projection,
    goes_on: Projection,
    reason: str,
) -> None:
    """The one stops with the reason, the other serves on."""
    await append(pool, 3)
    await poison(connection, TOPIC, STATE | wrong)
    stopping, going = bench(stops), bench(goes_on)
    assert reason in await stopping.stopped()
    await append(pool, 3)
    await eventually(partial(going.has_reached, 7))
    assert (await stopping.state())[0] == 3


async def test_the_reason_for_a_stop_names_no_phone_number(
    bench: NewBench, connection: Connection
) -> None:
    """It is in logs, and PostgreSQL's DETAIL would quote the row."""
    await connection.execute(
        "ALTER TABLE phone_numbers_v1 ADD CONSTRAINT nobody CHECK (status = 'out')"
    )
    await poison(connection, TOPIC, STATE)
    reason = await bench(PhoneNumbers()).stopped()
    assert "CheckViolationError" in reason
    assert NUMBER not in reason


async def test_a_lost_event_stops_every_projection(
    bench: NewBench, pool: Pool, connection: Connection
) -> None:
    """A gap is never passed over."""
    await append(pool, 6)
    await connection.execute("ALTER TABLE ledger_events DISABLE TRIGGER ALL")
    await connection.execute("DELETE FROM ledger_events WHERE notification_id = 4")
    for projection in (PhoneNumbers(), ConsentHistory()):
        worker = bench(projection)
        assert "position 4 is missing" in await worker.stopped()
        assert (await worker.state())[0] == 3


async def test_a_release_that_knows_the_event_goes_on_from_there(
    bench: NewBench, pool: Pool, connection: Connection
) -> None:
    """And the reason is gone."""
    await append(pool, 2)
    position = await poison(connection, "ledger.domain.events:Unheard", STATE)
    await append(pool, 2)
    assert await bench(ConsentHistory()).stopped()
    await connection.execute("ALTER TABLE ledger_events DISABLE TRIGGER ALL")
    repair = "UPDATE ledger_events SET topic = $1 WHERE notification_id = $2"
    await connection.execute(repair, TOPIC, position)
    await eventually(partial(bench(ConsentHistory()).has_reached, 5))
    assert await rows_in(connection, "consent_history_v1") == 5


class Faulty(ConsentHistory):
    """Writes its rows and then fails, for a while."""

    def __init__(self, failures: int) -> None:
        super().__init__()
        self.failures = failures

    async def apply(self, connection: Connection, batch: Batch) -> None:
        """What was written must be rolled back with the checkpoint."""
        await super().apply(connection, batch)
        if self.failures > 0:
            self.failures -= 1
            raise RuntimeError("made by a test")


async def test_rows_and_checkpoint_are_one_transaction(
    bench: NewBench, pool: Pool, connection: Connection
) -> None:
    """A failure after the rows leaves neither."""
    await append(pool, 4)
    worker = bench(Faulty(failures=1_000_000))
    assert await worker.stopped() == "RuntimeError: made by a test"
    assert (await worker.state())[0] == 0
    assert await rows_in(connection, "consent_history_v1") == 0


async def test_a_batch_that_fails_is_tried_one_by_one_first(
    bench: NewBench, pool: Pool
) -> None:
    """What passes then was no poison."""
    await append(pool, 4)
    worker = bench(Faulty(failures=1))
    await eventually(partial(worker.has_reached, 4))


# Lost notifications and lost connections.


async def test_without_a_notification_a_poll_finds_the_events(
    bench: NewBench, pool: Pool
) -> None:
    """NOTIFY only wakes."""
    worker = bench(PhoneNumbers())
    for reached in (3, 6):
        await append(pool, 3)
        await eventually(partial(worker.has_reached, reached))


@asynccontextmanager
async def woken(dsn: str, projection: Projection) -> AsyncIterator[Bench]:
    """A worker that polls once a minute and is woken by notifications."""
    settings = settings_for(dsn, LEDGER_POLL_SECONDS="0.05")
    async with (
        await open_pool(dsn, settings, application="test") as pool,
        Doorbell(dsn, "ledger_events", poll_seconds=LONG) as bell,
    ):
        await bell.listening.wait()
        worker = Bench(projection, pool, bell, settings)
        yield worker
        await ended([worker])


async def test_a_notification_wakes_the_worker_at_once(dsn: str, pool: Pool) -> None:
    """Long before it would have looked by itself."""
    async with woken(dsn, PhoneNumbers()) as worker:
        for reached in (2, 4, 6):
            await append(pool, 2)
            await eventually(partial(worker.has_reached, reached))


async def test_whoever_waits_for_the_table_is_told(
    bench: NewBench, pool: Pool, connection: Connection
) -> None:
    """Once the rows can be read."""
    told = asyncio.Event()
    await connection.add_listener("projections_advanced", lambda *_: told.set())
    await append(pool, 1)
    worker = bench(PhoneNumbers())
    async with asyncio.timeout(10):
        await told.wait()
    assert await worker.has_reached(1)


async def test_a_worker_outlives_its_connections(
    bench: NewBench, pool: Pool, connection: Connection
) -> None:
    """Terminated again and again, as by a restart of the database."""
    worker = bench(PhoneNumbers())
    for reached in range(3, 13, 3):
        await append(pool, 3)
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE "
            "datname = current_database() AND pid <> pg_backend_pid()"
        )
        await eventually(partial(tolerant, worker, reached))


async def tolerant(worker: Bench, position: int) -> bool:
    """Whether it has reached a position, by connections that may be gone."""
    try:
        with translated():
            return await worker.has_reached(position)
    except StoreUnavailable:
        return False


async def test_a_worker_outlives_a_database_that_is_down(dsn: str, pool: Pool) -> None:
    """From the start, and later."""
    wire = Wire(dsn)
    await wire.open()
    wire.is_down = True
    settings = settings_for(dsn, LEDGER_POLL_SECONDS="0.05")
    async with (
        await open_pool(wire.dsn, settings, application="test") as far,
        Doorbell(wire.dsn, "ledger_events", poll_seconds=0.05) as bell,
    ):
        worker = Bench(PhoneNumbers(), far, bell, settings)
        for reached in (2, 4):
            await append(pool, 2)
            assert not worker.task.done()
            wire.is_down = False
            await eventually(partial(tolerant, worker, reached))
            async with asyncio.timeout(10):
                await bell.listening.wait()
            wire.is_down = True
            wire.cut()
            await eventually(partial(is_deaf, bell))
        await ended([worker])
    await wire.close()


async def is_deaf(bell: Doorbell) -> bool:
    """Whether it hears no notifications now."""
    return not bell.listening.is_set()


async def test_a_worker_goes_on_from_where_the_database_was_set_back_to(
    bench: NewBench, pool: Pool, connection: Connection
) -> None:
    """As with a standby that had not received the newest events."""
    await append(pool, 6)
    worker = bench(PhoneNumbers())
    await eventually(partial(worker.has_reached, 6))
    await connection.execute(
        """
        SET session_replication_role = replica;
        BEGIN;
        DELETE FROM ledger_events WHERE notification_id > 3;
        DELETE FROM signal_keys WHERE position > 3;
        UPDATE ledger_position SET position = 3;
        UPDATE projections SET position = 3;
        COMMIT
        """
    )
    await append(pool, 2)
    await eventually(partial(worker.has_reached, 5))


async def test_an_idle_worker_says_that_it_runs(
    bench: NewBench, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that one that has died is missed."""
    monkeypatch.setattr(worker_module, "SEEN_SECONDS", 0.0)
    read = "SELECT seen_at FROM projections WHERE name = 'phone_numbers'"
    before = await connection.fetchval(read)
    bench(PhoneNumbers())

    async def is_seen() -> bool:
        return bool(await connection.fetchval(read) > before)

    await eventually(is_seen)


async def test_tables_are_made_once(connection: Connection) -> None:
    """What they hold stays."""
    assert await create_first(connection) == []


@pytest.mark.parametrize(("is_durable", "commit"), [(True, "on"), (False, "off")])
async def test_a_pool_waits_for_the_disk_unless_its_tables_can_be_built_again(
    dsn: str, *, is_durable: bool, commit: str
) -> None:
    """Whatever the server's default is."""
    settings = settings_for(dsn)
    async with await open_pool(
        dsn, settings, application="test", is_durable=is_durable
    ) as pool:
        assert await pool.fetchval("SHOW synchronous_commit") == commit
