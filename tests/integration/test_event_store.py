"""Every guarantee of the event store, with a test that attacks it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import asyncpg
import pytest
from builders import MASTERS, entry, signal
from conftest import eventually

from ledger.command_handler import CommandHandler, Receipt
from ledger.domain.events import ConsentChanged
from ledger.domain.ids import PhoneNumber, Position, SubjectId
from ledger.errors import InvalidConsent, PositionMissing
from ledger.settings import Settings
from ledger.store.database import Connection, Pool, connect, open_pool
from ledger.store.event_store import Appended, Duplicate, FromTheFuture
from ledger.store.keyring import Keyring
from ledger.store.postgres import PostgresEventStore, _columns
from ledger.store.statements import statement

APPEND = statement("ledger.store", "append_events")
APPENDING = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
    "AND wait_event_type = 'Lock'"
)

NewStore = Callable[[], PostgresEventStore]
NewHandler = Callable[[], CommandHandler]


def somebody() -> SubjectId:
    """A subject that nobody else uses."""
    return SubjectId(uuid4())


async def all_of(store: PostgresEventStore) -> list[ConsentChanged]:
    """The ledger; that it has no gap is checked by reading it."""
    recorded = await store.read_after(Position(0), 10_000)
    assert [position for position, _ in recorded] == list(range(1, len(recorded) + 1))
    return [event for _, event in recorded if isinstance(event, ConsentChanged)]


@pytest.fixture
async def stores(
    dsn: str, settings: Settings
) -> AsyncIterator[list[PostgresEventStore]]:
    """Four stores, each with connections of its own, as in four processes."""
    async with AsyncExitStack() as stack:
        pools = [
            await stack.enter_async_context(
                await open_pool(dsn, settings, application=f"process {n}")
            )
            for n in range(4)
        ]
        yield [PostgresEventStore(pool) for pool in pools]


@pytest.fixture
async def handlers(
    stores: list[PostgresEventStore], pool: Pool, settings: Settings
) -> AsyncIterator[list[CommandHandler]]:
    """Four command handlers, as in four processes."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                CommandHandler(store, Keyring(pool, MASTERS), settings)
            )
            for store in stores
        ]


# Once.


async def test_a_key_counts_once_however_many_append_it_at_once(
    stores: list[PostgresEventStore],
) -> None:
    """One event; everyone is told its position."""
    racing = [
        store.append([entry(somebody(), key=f"key {n}") for n in range(20)])
        for store in stores * 3
    ]
    outcomes = await asyncio.gather(*racing)
    for same_key in zip(*outcomes, strict=True):
        appended = [o for o in same_key if isinstance(o, Appended)]
        duplicates = [o for o in same_key if isinstance(o, Duplicate)]
        assert (len(appended), len(duplicates)) == (1, 11)
        assert {o.position for o in duplicates} == {appended[0].position}
    assert len(await all_of(stores[0])) == 20


async def test_a_signal_counts_once_in_every_process_at_once(
    handlers: list[CommandHandler], store: PostgresEventStore
) -> None:
    """Twilio's retry may reach any of them; all answer with the first position."""
    same = signal()
    receipts = await asyncio.gather(*(h.handle(same) for h in handlers * 5))
    assert {receipt.position for receipt in receipts} == {1}
    assert sum(receipt.is_new for receipt in receipts) == 1
    assert len(await all_of(store)) == 1


async def test_a_key_counts_once_for_ever(
    handlers: list[CommandHandler], store: PostgresEventStore
) -> None:
    """Whatever else was recorded since, and whatever the repeat says."""
    first = signal(key="key", status="out")
    assert await handlers[0].handle(first) == Receipt(Position(1), is_new=True)
    await handlers[0].handle(signal(status="in"))
    repeat = signal(key="key", status="in", phone_number=PhoneNumber("+14155550101"))
    for handler in handlers:
        assert await handler.handle(repeat) == Receipt(Position(1), is_new=False)
    assert [event.status for event in await all_of(store)] == ["out", "in"]


# Gapless and ordered.

SEQUENCE = """
CREATE TABLE loose_events (notification_id bigserial PRIMARY KEY);
"""


async def read_while_the_first_append_is_slow(
    dsn: str, append: str, arguments: Callable[[], list[object]], table: str
) -> tuple[set[int], set[int]]:
    """What a polling reader saw, and what there is.

    The first append is done and not yet committed when the second one begins; the
    reader polls before and after the first one commits, from its last position on.
    """
    slow, fast, reader = [await asyncpg.connect(dsn) for _ in range(3)]
    read = f"SELECT notification_id FROM {table} WHERE notification_id > $1"  # noqa: S608
    seen: set[int] = set()
    first = slow.transaction()
    await first.start()
    await slow.execute(append, *arguments())
    second = asyncio.create_task(fast.execute(append, *arguments()))

    async def is_done_or_waits() -> bool:
        return second.done() or bool(await reader.fetchval(APPENDING))

    await eventually(is_done_or_waits)
    for commit in (None, first.commit):
        if commit is not None:
            await commit()
            await second
        rows = await reader.fetch(read, max(seen, default=0))
        seen |= {row[0] for row in rows}
    there = {row[0] for row in await reader.fetch(read, 0)}
    for connection in (slow, fast, reader):
        await connection.close()
    return seen, there


def one_entry() -> list[object]:
    """What the append's statement takes for one entry."""
    return [*_columns([entry(somebody())])]


async def test_a_reader_that_polls_misses_nothing(dsn: str) -> None:
    """Whoever takes a later position waits for the earlier one's commit."""
    seen, there = await read_while_the_first_append_is_slow(
        dsn, APPEND, one_entry, "ledger_events"
    )
    assert seen == there == {1, 2}


async def test_a_reader_of_a_sequence_does_miss_events(
    dsn: str, connection: Connection
) -> None:
    """The same race without the counter: position 1 appears behind the reader."""
    await connection.execute(SEQUENCE)
    insert = "INSERT INTO loose_events DEFAULT VALUES"
    seen, there = await read_while_the_first_append_is_slow(
        dsn, insert, list, "loose_events"
    )
    assert (seen, there) == ({2}, {1, 2})


async def test_many_writers_make_one_gapless_order(
    stores: list[PostgresEventStore], store: PostgresEventStore
) -> None:
    """A reader that follows them sees 1, 2, 3 … whenever it looks."""
    everyone = [somebody() for _ in range(240)]
    writing = asyncio.gather(
        *(
            stores[n % 4].append([entry(s) for s in everyone[n : n + 6]])
            for n in range(0, 240, 6)
        )
    )
    seen: list[Position] = []
    async with asyncio.timeout(20):
        while len(seen) < len(everyone):
            after = seen[-1] if seen else Position(0)
            # It raises PositionMissing where it sees a gap.
            seen += [position for position, _ in await store.read_after(after, 7)]
    outcomes = [o for batch in await writing for o in batch]
    assert seen == list(range(1, 241))
    assert sorted(o.position for o in outcomes if isinstance(o, Appended)) == seen
    assert await store.last_position() == 240


async def test_a_batch_keeps_its_order(store: PostgresEventStore) -> None:
    """Positions are given in the order of the entries, whomever they are of."""
    entries = [entry(somebody()) for _ in range(50)]
    outcomes = await store.append(entries)
    assert [getattr(o, "position", None) for o in outcomes] == list(range(1, 51))
    subjects = [event.subject_id for event in await all_of(store)]
    assert subjects == [given.subject_id for given in entries]


@pytest.mark.parametrize("lost", [2, 3])
async def test_a_lost_event_is_noticed(
    store: PostgresEventStore, connection: Connection, lost: int
) -> None:
    """By whoever reads over the place where it was."""
    await store.append([entry(somebody()) for _ in range(4)])
    await connection.execute("ALTER TABLE ledger_events DISABLE TRIGGER ALL")
    delete = "DELETE FROM ledger_events WHERE notification_id = $1"
    await connection.execute(delete, lost)
    assert len(await store.read_after(Position(0), lost - 1)) == lost - 1
    for after in range(lost):
        with pytest.raises(PositionMissing, match=f"position {lost} is missing"):
            await store.read_after(Position(after), 10)
    assert len(await store.read_after(Position(lost), 10)) == 4 - lost


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
async def test_another_default_isolation_loses_nothing(
    dsn: str, connection: Connection, handlers: list[CommandHandler], level: str
) -> None:
    """Such a server refuses what has raced, and it is tried again."""
    name = await connection.fetchval("SELECT quote_ident(current_database())")
    alter = f"ALTER DATABASE {name} SET default_transaction_isolation = '{level}'"
    await connection.execute(alter)
    numbers = [PhoneNumber(f"+1415555{n:04}") for n in range(40)]
    await asyncio.gather(
        *(
            handlers[n % 4].handle(signal(phone_number=number))
            for n, number in enumerate(numbers)
        )
    )
    reader = await connect(dsn, application="test")
    found = await reader.fetch("SELECT notification_id FROM ledger_events ORDER BY 1")
    await reader.close()
    assert [row[0] for row in found] == list(range(1, 41))


# One clock.


async def test_recorded_at_is_the_databases_clock_under_the_lock(
    store: PostgresEventStore, connection: Connection
) -> None:
    """A text occurs when it is recorded; a batch is recorded at one time."""
    before = await connection.fetchval("SELECT clock_timestamp()")
    await store.append([entry(somebody()), entry(somebody())])
    after = await connection.fetchval("SELECT clock_timestamp()")
    first, second = await all_of(store)
    assert before <= first.recorded_at == second.recorded_at <= after
    assert first.occurred_at == first.recorded_at


async def test_recorded_at_never_decreases_when_the_clock_does(
    store: PostgresEventStore, connection: Connection
) -> None:
    """After an hour ahead, time stands still until the clock has caught up."""
    await store.append([entry(somebody())])
    ahead = datetime.now(UTC) + timedelta(hours=1)
    await connection.execute("UPDATE ledger_position SET recorded_at = $1", ahead)
    for _ in range(2):
        [outcome] = await store.append([entry(somebody())])
        assert isinstance(outcome, Appended)
        assert outcome.recorded_at == ahead
    times = [event.recorded_at for event in await all_of(store)]
    assert times == sorted(times)


async def test_a_time_in_the_future_is_refused_and_its_neighbours_are_not(
    store: PostgresEventStore,
) -> None:
    """A fast clock elsewhere cannot put a START after a later STOP."""
    soon = datetime.now(UTC) + timedelta(minutes=1)
    occurred = [None, soon, datetime.max.replace(tzinfo=UTC), None]
    entries = [entry(somebody(), occurred_at=at) for at in occurred]
    outcomes = await store.append(entries)
    kinds = [type(outcome) for outcome in outcomes]
    assert kinds == [Appended, FromTheFuture, FromTheFuture, Appended]
    assert await store.append(entries[1:2]) == [FromTheFuture()]
    assert len(await all_of(store)) == 2


async def test_a_time_in_the_future_leaves_no_hole_in_its_subjects_stream(
    handlers: list[CommandHandler], store: PostgresEventStore
) -> None:
    """The signals of one batch after it are decided without it."""
    soon = datetime.now(UTC) + timedelta(minutes=1)
    signals = [signal(status="in", occurred_at=soon), signal(status="out")]
    results = await asyncio.gather(
        *(handlers[0].handle(each) for each in signals), return_exceptions=True
    )
    assert isinstance(results[0], InvalidConsent)
    assert results[1] == Receipt(Position(1), is_new=True)
    [event] = await all_of(store)
    assert (event.version, event.previous_status) == (1, "unknown")


@pytest.mark.parametrize(
    "year",
    # Not 1: asyncpg sends its first instant as -infinity. The API begins at 1970.
    [2, 1582, 1969],
)
async def test_a_time_long_ago_is_kept(store: PostgresEventStore, year: int) -> None:
    """An import may bring any that Python can write."""
    long_ago = datetime(year, 1, 1, tzinfo=UTC)
    await store.append([entry(somebody(), occurred_at=long_ago)])
    [event] = await all_of(store)
    assert event.occurred_at == long_ago
