"""Rebuilds while texts come in, people are erased, and readers ask."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Final

import pytest
from api_steps import ask, path_of, text
from builders import signal
from conftest import CatchUp, Client, eventually
from rebuild_steps import APPROVAL, Steps, built, checked, rebuilt

from ledger.command_handler import CommandHandler
from ledger.domain.ids import PhoneNumber
from ledger.erasure import Erasures
from ledger.store.database import Connection
from ledger.store.subscription import Doorbell
from projections import filling as filling_module
from projections import rebuild as rebuild_module
from projections.app import keep_up_to_date
from projections.phone_numbers import PhoneNumbers
from projections.rebuild import cancel, drop_old
from projections.slices import slices
from projections.switching import go_back
from projections.worker import Means, Worker

WHY: Final = {"reason": "a test", "actor": "test"}
NAMES: Final = ("phone_numbers", "consent_history")


def number(n: int) -> PhoneNumber:
    """One of a test's people."""
    return PhoneNumber(f"+1415999{n:04}")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slices of a few events each."""
    monkeypatch.setattr(rebuild_module, "EVENTS_A_SLICE", 4)


@asynccontextmanager
async def projecting(dsn: str, means: Means) -> AsyncIterator[asyncio.Task[None]]:
    """A projector process, as far as it is one of ours."""
    async with Doorbell(dsn, "ledger_events", poll_seconds=0.05) as bell:
        settings = means.settings.model_copy(update={"poll_seconds": 0.05})
        own = replace(means, doorbell=bell, settings=settings)
        task = asyncio.create_task(keep_up_to_date(own))
        await bell.listening.wait()
        yield task
        assert not task.done()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.fixture
async def projector(dsn: str, means: Means) -> AsyncIterator[asyncio.Task[None]]:
    """What keeps every version up to date while a test runs."""
    async with projecting(dsn, means) as task:
        yield task


@pytest.mark.usefixtures("projector")
async def test_readers_are_right_across_switches_and_drops(
    dsn: str, means: Means, client: Client, connection: Connection
) -> None:
    """Never a 500, nor an answer of a moment ago, whichever version answers."""
    for n in range(8):
        await text(client, "START", From=number(n))
    ended, rounds = asyncio.Event(), 0
    paths = (
        path_of(number(0), "/history"),
        path_of(number(0), "?asOf=2020-01-01"),
        "/PhoneNumbers/?status=in",
        "/PhoneNumbers/?asOf=2020-01-01",
    )

    async def read() -> None:
        nonlocal rounds
        while not ended.is_set():
            body, status = (("START", "in"), ("STOP", "out"))[rounds % 2]
            await text(client, body, From=number(0))
            last = await means.store.last_position()
            record = await ask(client, path_of(number(0), f"?minPosition={last}"))
            assert record["status"] == status
            for path in paths:
                await ask(client, path)
            rounds += 1

    async def one_more() -> None:
        before = rounds

        async def is_more() -> bool:
            return rounds > before or reading.done()

        await eventually(is_more)

    reading = asyncio.create_task(read())
    for n in range(2):
        for name in NAMES:
            async with Steps(dsn, means, name) as steps:
                for step in (steps.fill, steps.index, steps.follow, steps.switch):
                    await step()
                    await one_more()
                await go_back(connection, name, means, APPROVAL, lambda *_: None)
                await one_more()
                await go_back(connection, name, means, APPROVAL, lambda *_: None)
                assert await drop_old(connection, name) == [n + 1]
                await one_more()
    ended.set()
    await reading
    assert (await checked(means)).differences == {}


async def test_who_remembers_a_version_that_is_gone_asks_again(
    dsn: str, means: Means, client: Client, connection: Connection, catch_up: CatchUp
) -> None:
    """No notification came, and all of it is answered from the version that serves."""
    await text(client, "STOP", From=number(0))
    await catch_up()
    paths = (
        path_of(number(0)),
        path_of(number(0), "?minPosition=1"),
        path_of(number(0), "/history"),
        path_of(number(0), "?asOf=2020-01-01"),
        "/PhoneNumbers/",
        "/PhoneNumbers/?asOf=2020-01-01",
    )
    told = [await said(client, path) for path in paths]
    for path, before in zip(paths, told, strict=True):
        for name in NAMES:
            await rebuilt(dsn, means, name)
        # What it has heard of the switch is what it remembers from now on.
        assert await said(client, path) == before
        for name in NAMES:
            await drop_old(connection, name)
        assert await said(client, path) == before


async def test_a_query_under_way_is_asked_again(
    dsn: str, means: Means, client: Client, connection: Connection, catch_up: CatchUp
) -> None:
    """It waits behind the drop, finds no table, and reads the next version."""
    await text(client, "STOP", From=number(0))
    await catch_up()
    before = await ask(client, path_of(number(0)))
    await rebuilt(dsn, means)
    await go_back(connection, "phone_numbers", means, APPROVAL, lambda *_: None)
    assert await ask(client, path_of(number(0))) == before
    transaction = connection.transaction()
    await transaction.start()
    # As a switch and a drop, of which nobody has heard.
    await connection.execute(
        "UPDATE projection_pointers SET version = 2 WHERE name = 'phone_numbers'"
    )
    await connection.execute("DROP TABLE phone_numbers_v1, phone_number_senders_v1")
    asking = asyncio.create_task(ask(client, path_of(number(0))))
    await eventually(lambda: is_waiting(means))
    await transaction.commit()
    assert await asking == before


async def said(client: Client, path: str) -> object:
    """What is answered, but for the ledger's position, which has moved."""
    answer = await ask(client, path)
    return answer | {"position": None} if isinstance(answer, dict) else answer


async def is_waiting(means: Means) -> bool:
    """Whether somebody waits for a lock on a table."""
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    return bool(await means.pool.fetchval(waiting))


@pytest.mark.parametrize("when", ["before", "filling", "filled", "indexed", "followed"])
async def test_who_is_erased_is_in_no_version(  # noqa: PLR0913, PLR0917 - fixtures
    dsn: str,
    means: Means,
    handler: CommandHandler,
    erasures: Erasures,
    connection: Connection,
    when: str,
) -> None:
    """Whenever that is; and who comes back afterwards is in both."""
    for n in range(6):
        await handler.handle(signal(phone_number=number(n), status="out"))
        await handler.handle(signal(phone_number=number(n), status="in"))

    async def erase_at(moment: str) -> None:
        if moment == when:
            await erasures.erase(number(1), **WHY)
            await handler.handle(signal(phone_number=number(2), status="out"))

    await erase_at("before")
    async with Steps(dsn, means) as steps:
        filler = filling_module.Filler(means.pool, means.keyring, steps.filling)
        await filler.start()
        for at, span in enumerate(slices(steps.target.slices)):
            if at == steps.target.slices // 2:
                await erase_at("filling")
            await filler.fill(at, span)
        await erase_at("filled")
        if when in {"before", "filling", "filled"}:
            # Before the tail comes: whoever forgets this rebuild leaves no number.
            rows = "SELECT count(*) FROM phone_numbers_v2 WHERE phone_number = $1"
            assert await connection.fetchval(rows, number(1)) == 0
        await steps.index()
        await erase_at("indexed")
        await steps.follow()
        await erase_at("followed")
        await handler.handle(signal(phone_number=number(1), status="in"))
        await steps.switch()
    for version in (1, 2):
        read = f"SELECT count(*) FROM phone_numbers_v{version} WHERE phone_number = $1"  # noqa: S608
        assert await connection.fetchval(read, number(1)) == 1
    assert (await checked(means)).differences == {}


async def test_an_erasure_does_not_wait_for_an_index(
    dsn: str, means: Means, handler: CommandHandler, erasures: Erasures
) -> None:
    """Nor does the text after it, which waits for the erasure."""
    await handler.handle(signal(phone_number=number(0), status="in"))
    async with Steps(dsn, means) as steps:
        await steps.fill()
        await steps.index()
        async with means.pool.acquire() as own, own.transaction():
            # As CREATE INDEX does, for as long as it takes.
            await own.execute("LOCK TABLE phone_numbers_v2 IN SHARE MODE")
            await erasures.erase(number(0), **WHY)
            await handler.handle(signal(phone_number=number(1), status="in"))
        await steps.follow()
        await steps.switch()
    assert (await checked(means)).differences == {}


async def test_a_version_is_fed_from_when_it_was_compared(
    dsn: str, means: Means, connection: Connection, handler: CommandHandler
) -> None:
    """By every worker there is, an old one's too; dropped, it stops none of them."""
    for n in range(3):
        await handler.handle(signal(phone_number=number(n), status="in"))

    async def stands(*versions: int) -> bool:
        rows = await connection.fetch(
            "SELECT version, position, stopped_reason FROM projections "
            "WHERE name = 'phone_numbers' ORDER BY version"
        )
        last = await means.store.last_position()
        return [tuple(row) for row in rows] == [(v, last, None) for v in versions]

    async with projecting(dsn, means), projecting(dsn, means):
        # One of a release that knows of no versions.
        old = asyncio.create_task(Worker((PhoneNumbers(1),), means).run())
        async with built(dsn, means) as steps:
            await handler.handle(signal(phone_number=number(3), status="in"))
            await eventually(lambda: stands(1, 2))
            await steps.switch()
            await handler.handle(signal(phone_number=number(4), status="in"))
            await eventually(lambda: stands(1, 2))
        async with built(dsn, means):
            await cancel(connection, "phone_numbers")
        await handler.handle(signal(phone_number=number(5), status="in"))
        await eventually(lambda: stands(1, 2))
        await drop_old(connection, "phone_numbers")
        await handler.handle(signal(phone_number=number(6), status="in"))
        await eventually(lambda: stands(2))
        async with asyncio.timeout(5):
            await old
    assert (await checked(means)).differences == {}


async def test_a_version_is_dropped_under_a_worker_at_any_moment(
    dsn: str, means: Means, connection: Connection, handler: CommandHandler
) -> None:
    """It has not stopped, and what it works at beside that goes on."""
    await rebuilt(dsn, means)
    both = (PhoneNumbers(1), PhoneNumbers(2))
    working = asyncio.create_task(Worker(both, means).run())
    await handler.handle(signal(phone_number=number(0), status="in"))
    await drop_old(connection, "phone_numbers")
    await handler.handle(signal(phone_number=number(1), status="in"))
    read = "SELECT position = 3 FROM projections WHERE name = 'phone_numbers'"
    await eventually(lambda: connection.fetchval(read))
    working.cancel()
    with suppress(asyncio.CancelledError):
        await working
