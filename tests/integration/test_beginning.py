"""A projector that starts from nothing fills its tables at once, or not at all."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final

import pytest
from builders import signal
from conftest import eventually
from rebuild_steps import checked, relations

from ledger.command_handler import CommandHandler
from ledger.domain.ids import EVERY_SENDER, PhoneNumber, Sender
from ledger.erasure import Erasures
from ledger.store.database import Connection, Pool
from projections import beginning, pages
from projections import worker as worker_module
from projections.app import PROJECTIONS
from projections.consent_history import ConsentHistory
from projections.messages import Messages
from projections.phone_numbers import PhoneNumbers
from projections.worker import Means, Worker

EVENTS: Final = 32
ERASED: Final = PhoneNumber("+14155550103")
SENDERS: Final = (Sender("+14155550199"), EVERY_SENDER, Sender("MG0"))
UNTIL: Final = datetime(2100, 1, 1, tzinfo=UTC)
STANDS: Final = "SELECT position, stopped_reason FROM projections ORDER BY name"
COUNTS: Final = (
    "SELECT (SELECT count(*) FROM phone_numbers_v1), "
    "(SELECT count(*) FROM consent_history_v1)"
)

Said = Callable[[], Awaitable[None]]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few events are much; slices of two of them, about, and pages of four."""
    monkeypatch.setattr(worker_module, "FILL_MIN", EVENTS)
    monkeypatch.setattr(beginning, "EVENTS_A_SLICE", 2)
    monkeypatch.setattr(pages, "EVENTS_A_PAGE", 4)


@pytest.fixture(autouse=True)
async def spoken(handler: CommandHandler, erasures: Erasures) -> None:
    """Ten people, of whom one said much, one is under a hold and one was erased."""
    for n in [*range(10), *range(10), *[0] * 9]:
        number, sender = PhoneNumber(f"+1415555{100 + n:04}"), SENDERS[n % 3]
        status = "out" if n % 2 else "in"
        await handler.handle(signal(phone_number=number, sender=sender, status=status))
    held = PhoneNumber("+14155550104")
    await erasures.hold(held, until=UNTIL, reason="a test", actor="test")
    await erasures.erase(ERASED, reason="a test", actor="test")
    await handler.handle(signal(phone_number=held, status="in"))


@asynccontextmanager
async def running(
    means: Means, count: int = 1
) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Workers of all projections, until the end of the context."""
    tasks = [
        asyncio.create_task(Worker(PROJECTIONS, means).run()) for _ in range(count)
    ]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def stands(connection: Connection | Pool) -> list[tuple[int, str | None]]:
    """Where the projections are, and why they stopped."""
    return [tuple(row) for row in await connection.fetch(STANDS)]


async def reached(connection: Connection, position: int) -> None:
    """Return once all are there."""

    async def is_there() -> bool:
        return await stands(connection) == [(position, None)] * len(PROJECTIONS)

    await eventually(is_there)


@pytest.mark.parametrize("workers", [1, 2])
async def test_the_tables_are_as_the_events_say(
    means: Means,
    connection: Connection,
    handler: CommandHandler,
    workers: int,
) -> None:
    """Rows, digests and indexes, and it goes on from there; two at once do no harm."""
    there = await relations(connection)
    async with running(means, workers):
        await reached(connection, EVENTS)
        assert await relations(connection) == there
        await handler.handle(signal(phone_number=PhoneNumber("+14155550101")))
        await reached(connection, EVENTS + 1)
    assert (await checked(means)).differences == {}


async def test_nothing_is_seen_before_all_of_it(
    means: Means,
    connection: Connection,
    erasures: Erasures,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And who is erased before it can be seen is not in it afterwards."""
    seen: list[object] = []

    async def create_indexes(_: PhoneNumbers, own: Connection) -> None:
        if not seen and await own.fetchval("SELECT count(*) FROM phone_numbers_v1"):
            counts = await means.pool.fetchrow(COUNTS)
            seen.append((await stands(means.pool), tuple(counts or ())))
            number = PhoneNumber("+14155550108")
            await erasures.erase(number, reason="a test", actor="test")

    async def without(_: object, __: Connection) -> None:
        # An erasure waits for whoever makes an index.
        return

    monkeypatch.setattr(PhoneNumbers, "create_indexes", create_indexes)
    monkeypatch.setattr(ConsentHistory, "create_indexes", without)
    monkeypatch.setattr(Messages, "create_indexes", without)
    async with running(means):
        await reached(connection, EVENTS + 1)
    assert seen == [([(0, None)] * len(PROJECTIONS), (0, 0))]
    assert await connection.fetchval("SELECT count(*) FROM phone_numbers_v1") == 8
    assert (await checked(means)).differences == {}


async def test_what_fails_leaves_nothing_and_is_done_again(
    means: Means, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the projection that fails; it goes on by itself, as batches do."""
    failures = [1, 1]
    create = ConsentHistory.create_indexes

    async def create_indexes(self: ConsentHistory, own: Connection) -> None:
        if failures and await own.fetchval("SELECT count(*) FROM consent_history_v1"):
            failures.pop()
            raise RuntimeError("made by a test")
        await create(self, own)

    monkeypatch.setattr(ConsentHistory, "create_indexes", create_indexes)
    async with running(means):
        await reached(connection, EVENTS)
    assert (await checked(means)).differences == {}


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("UPDATE ledger_events SET topic = 'x:Y'", "does not know"),
        ("UPDATE ledger_events SET state = '{}'", "lacks"),
        ("DELETE FROM ledger_events", "position 20 is missing"),
    ],
)
async def test_what_cannot_be_folded_is_found_and_stops_both(
    means: Means, connection: Connection, fault: str, reason: str
) -> None:
    """Where it is, with everything before it applied."""
    await connection.execute("SET session_replication_role = replica")
    await connection.execute(f"{fault} WHERE notification_id = 20")
    async with running(means) as [task]:
        await task
    assert {position for position, _ in await stands(connection)} == {19}
    assert all(reason in (why or "") for _, why in await stands(connection))
    assert await connection.fetchval("SELECT count(*) FROM consent_history_v1") == 19


async def test_little_is_applied_in_batches(
    means: Means, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many transactions are nothing where there are few events."""
    monkeypatch.setattr(worker_module, "FILL_MIN", EVENTS + 1)
    monkeypatch.delattr(worker_module, "fill_empty")
    async with running(means):
        await reached(connection, EVENTS)
