"""The tables are a fold of the events, whoever fills them and however often."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import asyncpg
import pytest
from builders import signal
from conftest import eventually, settings_for
from hypothesis import HealthCheck, given
from hypothesis import settings as example_settings
from hypothesis import strategies as st

from ledger.command_handler import CommandHandler
from ledger.domain.consent import deciding, evolve, nobody, overall_deciding
from ledger.domain.ids import EVERY_SENDER, PhoneNumber, Position, Sender, Status
from ledger.settings import Settings
from ledger.store.codec import RecordedEvent
from ledger.store.database import Connection, Pool, open_pool
from ledger.store.identity import IdentityLoader
from ledger.store.postgres import PostgresEventStore
from ledger.store.subscription import Doorbell
from projections import projection as projection_module
from projections.app import PROJECTIONS
from projections.consent_history import ConsentHistory
from projections.phone_numbers import PhoneNumbers
from projections.projection import Overtaken, Projection, advance
from projections.together import catch_up_together, run_together
from projections.worker import Worker

Row = tuple[object, ...]
SENDERS = (Sender("+14155550101"), Sender("MG1"), Sender("whatsapp:+1"), EVERY_SENDER)
NUMBERS = "SELECT * FROM phone_numbers_v1 ORDER BY phone_number"
NUMBER_SENDERS = "SELECT * FROM phone_number_senders_v1 ORDER BY phone_number, sender"
HISTORY = "SELECT * FROM consent_history_v1 ORDER BY position"
_numbers = itertools.count(1)


class Tables(NamedTuple):
    """What the projections show."""

    numbers: list[Row]
    senders: list[Row]
    history: list[Row]


async def shown(connection: Connection) -> Tables:
    """The rows of every table."""
    queries = (NUMBERS, NUMBER_SENDERS, HISTORY)
    return Tables(*[[tuple(r) for r in await connection.fetch(q)] for q in queries])


async def folded(store: PostgresEventStore) -> Tables:
    """What the rows must be: each number's whole stream, folded by the rules alone."""
    recorded = await store.read_after(Position(0), 100_000)
    tables = Tables([], [], [])
    for number in sorted({event.phone_number for _, event in recorded}):
        stream = [each for each in recorded if each.event.phone_number == number]
        positions = {event.version: position for position, event in stream}
        subject = nobody(stream[0].event.subject_id)
        for _, event in stream:
            subject = evolve(subject, event)
        decisive, (last_position, last) = overall_deciding(subject.facts), stream[-1]
        assert decisive is not None
        now = (last_position, last.version, last.recorded_at)
        tables.numbers.append((number, decisive.status, decisive.occurred_at, *now))
        for sender in sorted(subject.facts):
            fact = deciding(subject.facts, sender)
            assert fact is not None
            when = (fact.occurred_at, positions[fact.version], fact.version)
            tables.senders.append((number, sender, fact.status, *when))
    for position, e in recorded:
        what = (e.sender, e.status, e.previous_status, e.occurred_at, e.recorded_at)
        why = (e.source, e.matched_by, e.actor)
        tables.history.append((e.phone_number, position, e.version, *what, *why))
    return tables


def a_number() -> PhoneNumber:
    """One that nobody has used."""
    return PhoneNumber(f"+1415{next(_numbers):07}")


def silent(dsn: str) -> Doorbell:
    """A doorbell that nobody rings."""
    return Doorbell(dsn, "nothing", poll_seconds=0.05)


async def append_some(store: PostgresEventStore, pool: Pool, count: int = 20) -> None:
    """A few numbers say a few things, in one batch or two."""
    numbers = [a_number() for _ in range(4)]
    async with handler_of(store, pool) as handler:
        signals = [
            signal(
                phone_number=numbers[n % 4],
                sender=SENDERS[n % 3],
                status="in" if n % 5 else "out",
            )
            for n in range(count)
        ]
        await asyncio.gather(*map(handler.handle, signals))


def handler_of(store: PostgresEventStore, pool: Pool) -> CommandHandler:
    """What records signals."""
    given_settings = Settings.from_mapping({"LEDGER_BATCH_MAX": "7"})
    return CommandHandler(store, IdentityLoader(pool), given_settings)


async def checkpoints(connection: Connection) -> dict[str, int]:
    """How far each projection is."""
    rows = await connection.fetch("SELECT name, position FROM projections")
    return {row["name"]: row["position"] for row in rows}


# Equal to a fold.

minutes = st.none() | st.integers(0, 5)
statuses: st.SearchStrategy[Status] = st.sampled_from(("in", "out"))
said = st.tuples(st.integers(0, 2), st.sampled_from(SENDERS), statuses, minutes)


@example_settings(
    max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    batches=st.lists(st.lists(said, max_size=8), max_size=5),
    batch_max=st.sampled_from((1, 2, 3, 100)),
)
async def test_the_tables_are_a_fold_of_any_history(  # noqa: PLR0913
    *,
    dsn: str,
    store: PostgresEventStore,
    pool: Pool,
    connection: Connection,
    batches: list[list[tuple[int, Sender, Status, int | None]]],
    batch_max: int,
) -> None:
    """Now and as it happened, for facts that arrive in any order, in any batches."""
    numbers, now = [a_number() for _ in range(3)], datetime.now(UTC)
    settings = settings_for(dsn, LEDGER_PROJECTION_BATCH_MAX=str(batch_max))
    workers = [Worker(p, store, pool, silent(dsn), settings) for p in PROJECTIONS]
    async with handler_of(store, pool) as handler:
        for batch in batches:
            signals = [
                signal(
                    phone_number=numbers[n],
                    sender=sender,
                    status=status,
                    occurred_at=None if ago is None else now - timedelta(minutes=ago),
                )
                for n, sender, status, ago in batch
            ]
            await asyncio.gather(*map(handler.handle, signals))
            for worker in workers:
                await worker.catch_up()
    assert await shown(connection) == await folded(store)
    last = await store.last_position()
    assert await checkpoints(connection) == {p.name: last for p in PROJECTIONS}


async def test_the_longest_addresses_fit_into_every_index(
    store: PostgresEventStore,
    pool: Pool,
    connection: Connection,
    catch_up: Callable[[], Awaitable[None]],
) -> None:
    """What the webhook lets through never stops a projection."""
    letters = "".join(chr(0x20000 + n * 97 % 42_000) for n in range(512))
    longest = Sender(letters[256:])
    async with handler_of(store, pool) as handler:
        number = PhoneNumber(letters[:256])
        await handler.handle(signal(phone_number=number, sender=longest))
    await catch_up()
    assert await shown(connection) == await folded(store)


# Several workers.


async def test_two_workers_of_a_projection_do_no_harm(
    dsn: str, store: PostgresEventStore, pool: Pool, connection: Connection
) -> None:
    """One is overtaken by the other, and the rows are those of one."""
    settings = settings_for(dsn, LEDGER_PROJECTION_BATCH_MAX="3")
    async with AsyncExitStack() as stack:
        pools = [
            await stack.enter_async_context(
                await open_pool(dsn, settings, application="test")
            )
            for _ in range(3)
        ]
        tasks = [
            asyncio.create_task(Worker(p, store, own, silent(dsn), settings).run())
            for own in pools
            for p in PROJECTIONS
        ]
        for _ in range(5):
            await append_some(store, pool)
        last = await store.last_position()
        everywhere = {p.name: last for p in PROJECTIONS}
        await eventually(lambda: equals(checkpoints(connection), everywhere))
        assert not any(task.done() for task in tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert await shown(connection) == await folded(store)


# On one reading of the ledger.


class CountingStore(PostgresEventStore):
    """Remembers what was read after."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        self.read: list[int] = []

    async def read_after(self, position: Position, limit: int) -> list[RecordedEvent]:
        """As the store does."""
        self.read.append(position)
        return await super().read_after(position, limit)


class Unable(PhoneNumbers):
    """Fails at position 6."""

    async def apply(
        self, connection: Connection, events: Sequence[RecordedEvent]
    ) -> None:
        """As the projection does, up to there."""
        if events[-1].position >= 6:
            raise ValueError("not this one")
        await super().apply(connection, events)


@pytest.mark.parametrize(("ahead", "read"), [(0, 7), (2, 7), (3, 0)])
async def test_projections_that_are_near_each_other_read_once(  # noqa: PLR0913
    *,
    dsn: str,
    store: PostgresEventStore,
    pool: Pool,
    connection: Connection,
    ahead: int,
    read: int,
) -> None:
    """And the tables are what they are when each reads by itself."""
    await append_some(store, pool)
    if ahead:
        await advance(
            connection, PhoneNumbers(), await store.read_after(Position(0), ahead)
        )
    counting, settings = CountingStore(pool), settings_for(dsn)
    workers = [Worker(p, store, pool, silent(dsn), settings) for p in PROJECTIONS]
    await catch_up_together(workers, counting, batch_max=3)
    assert counting.read == [*range(0, 21, 3)][:read]
    for worker in workers:
        assert await worker.catch_up() == 20
    assert await shown(connection) == await folded(store)


async def test_a_projection_that_cannot_go_on_holds_back_no_other(
    dsn: str, store: PostgresEventStore, pool: Pool, connection: Connection
) -> None:
    """It stands before the event that it cannot apply; the other reaches the end."""
    await append_some(store, pool)
    settings = settings_for(dsn)
    projections = (Unable(), ConsentHistory())
    workers = [Worker(p, store, pool, silent(dsn), settings) for p in projections]
    running = asyncio.create_task(run_together(workers, store, batch_max=4))
    where = {"phone_numbers": 5, "consent_history": 20}
    await eventually(lambda: equals(checkpoints(connection), where))
    reason = "SELECT stopped_reason FROM projections WHERE name = 'phone_numbers'"
    await eventually(
        lambda: equals(connection.fetchval(reason), "ValueError: not this one")
    )
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def equals(found: Awaitable[object], expected: object) -> bool:
    """Whether it is so now."""
    return await found == expected


@pytest.mark.parametrize("projection", PROJECTIONS, ids=lambda p: p.name)
@pytest.mark.parametrize("read", [1, 10, 20])
async def test_a_zombie_writes_nothing(  # noqa: PLR0913
    *,
    dsn: str,
    store: PostgresEventStore,
    pool: Pool,
    connection: Connection,
    projection: Projection,
    read: int,
) -> None:
    """What was read before another worker went on is thrown away."""
    await append_some(store, pool)
    stale = await store.read_after(Position(0), read)
    settings = settings_for(dsn)
    await Worker(projection, store, pool, silent(dsn), settings).catch_up()
    before = await shown(connection)
    with pytest.raises(Overtaken):
        await advance(connection, projection, stale)
    assert await shown(connection) == before
    assert (await checkpoints(connection))[projection.name] == 20


UNGUARDED = (
    "UPDATE projections SET position = greatest(position, $4) "
    "WHERE name = $1 AND version = $2 AND $3 >= 0 RETURNING position"
)


async def test_without_compare_and_set_a_zombie_does_write(
    store: PostgresEventStore,
    pool: Pool,
    connection: Connection,
    catch_up: Callable[[], Awaitable[None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So it is the guard that holds it back, and the test above can fail."""
    await append_some(store, pool)
    stale = await store.read_after(Position(0), 2)
    await catch_up()
    monkeypatch.setattr(projection_module, "_ADVANCE", UNGUARDED)
    await advance(connection, PhoneNumbers(), stale)
    assert await shown(connection) != await folded(store)
    with pytest.raises(asyncpg.UniqueViolationError):
        await advance(connection, ConsentHistory(), stale)


async def test_a_second_worker_waits_before_it_has_written(
    dsn: str, store: PostgresEventStore, pool: Pool, connection: Connection
) -> None:
    """At the checkpoint, whose holder may still fail; then it does the work."""
    await append_some(store, pool)
    events = await store.read_after(Position(0), 20)
    other = await asyncpg.connect(dsn)
    holding = other.transaction()
    await holding.start()
    await advance(other, PhoneNumbers(), events)
    second = asyncio.create_task(advance(connection, PhoneNumbers(), events))
    await eventually(lambda: waits_for_a_lock(pool))
    await holding.rollback()
    assert await second == 20
    await other.close()


async def waits_for_a_lock(pool: Pool) -> bool:
    """Whether somebody in this database waits for somebody else."""
    return bool(
        await pool.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE "
            "datname = current_database() AND wait_event_type = 'Lock'"
        )
    )
