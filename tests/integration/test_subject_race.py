"""A number that is new to two processes at once is one subject with one key."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from builders import MASTERS, NUMBER, signal

from ledger.command_handler import CommandHandler
from ledger.domain.events import ConsentChanged
from ledger.domain.ids import Position
from ledger.settings import Settings
from ledger.store.database import Pool, open_pool
from ledger.store.keyring import Keyring, Opened
from ledger.store.postgres import PostgresEventStore


@pytest.fixture
async def processes(dsn: str, settings: Settings) -> AsyncIterator[list[Pool]]:
    """Connections of four processes."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                await open_pool(dsn, settings, application=f"process {n}")
            )
            for n in range(4)
        ]


@pytest.mark.parametrize("attempt", range(5))
async def test_a_number_that_is_new_to_several_processes_gets_one_key(
    processes: list[Pool], settings: Settings, attempt: int
) -> None:
    """Every event of it opens with that key, whoever has recorded it."""
    async with AsyncExitStack() as stack:
        handlers = [
            await stack.enter_async_context(
                CommandHandler(PostgresEventStore(p), Keyring(p, MASTERS), settings)
            )
            for p in processes
        ]
        said = [{"Body": f"STOP {attempt} {n}"} for n in range(len(handlers))]
        await asyncio.gather(
            *(
                handler.handle(signal(evidence=evidence))
                for handler, evidence in zip(handlers, said, strict=True)
            )
        )
    [pool, *_] = processes
    assert await pool.fetchval("SELECT count(*) FROM subject_keys") == 1
    recorded = await PostgresEventStore(pool).read_after(Position(0), 10)
    events = [event for _, event in recorded if isinstance(event, ConsentChanged)]
    assert [event.version for event in events] == [1, 2, 3, 4]
    opened = await Keyring(pool, MASTERS).opened(events)
    assert {each.phone_number for each in opened} == {NUMBER}
    for evidence in said:
        assert Opened(NUMBER, evidence) in opened
