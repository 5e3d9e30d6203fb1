"""After a failover that lost the newest events, no lost key seals anything.

As with a standby that had not received them: the database is set back while processes
go on, and remember subjects, keys and the day's secret that are there no more.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from builders import MASTERS, NUMBER, signal

from ledger.command_handler import CommandHandler
from ledger.domain.events import ConsentChanged
from ledger.domain.ids import PhoneNumber, Position
from ledger.settings import Settings
from ledger.store.database import Connection, Pool
from ledger.store.keyring import Keyring, Opened
from ledger.store.postgres import PostgresEventStore

SET_BACK = """
ALTER TABLE ledger_events DISABLE TRIGGER ALL;
ALTER TABLE signal_keys DISABLE TRIGGER ALL;
DELETE FROM ledger_events WHERE notification_id > 1;
DELETE FROM signal_keys WHERE position > 1;
DELETE FROM subject_keys WHERE subject_id NOT IN
    (SELECT originator_id FROM ledger_events);
UPDATE ledger_position SET position = 1;
"""


@pytest.fixture
async def both(
    store: PostgresEventStore, pool: Pool, settings: Settings
) -> AsyncIterator[list[CommandHandler]]:
    """Two processes, which know of another number's event, at position 1."""
    async with AsyncExitStack() as stack:
        handlers = [
            await stack.enter_async_context(
                CommandHandler(store, Keyring(pool, MASTERS), settings)
            )
            for _ in range(2)
        ]
        for handler in handlers:
            await handler.handle(signal(key="1", phone_number=PhoneNumber("+4930111")))
        yield handlers


async def opened(store: PostgresEventStore, keyring: Keyring) -> list[Opened]:
    """Everything in the ledger but the first."""
    recorded = await store.read_after(Position(1), 100)
    events = [event for _, event in recorded if isinstance(event, ConsentChanged)]
    return await keyring.opened(events)


async def test_a_subject_that_is_remembered_gets_its_new_key(
    both: list[CommandHandler],
    store: PostgresEventStore,
    keyring: Keyring,
    connection: Connection,
) -> None:
    """Though the other process has made it while this one remembers the lost one."""
    one, other = both
    for status in ("out", "in", "out"):
        await one.handle(signal(status=status))
    await connection.execute(SET_BACK)
    for _ in range(2):
        await other.handle(signal())
    await one.handle(signal(status="in"))
    await one.handle(signal(status="out"))
    assert await opened(store, keyring) == [Opened(NUMBER, {"Body": "STOP"})] * 4


async def test_the_day_that_is_remembered_is_made_again(
    both: list[CommandHandler],
    store: PostgresEventStore,
    keyring: Keyring,
    connection: Connection,
) -> None:
    """What either process seals after the failover opens for everyone."""
    one, other = both
    await connection.execute(SET_BACK)
    await connection.execute("DELETE FROM evidence_keys")
    for handler in (one, other, one):
        await handler.handle(signal())
    assert await opened(store, keyring) == [Opened(NUMBER, {"Body": "STOP"})] * 3
