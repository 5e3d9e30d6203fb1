"""The doorbell: rung by notifications, and whenever one may have been missed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import asyncpg
import pytest
from conftest import at_database, eventually

from ledger.store.database import Connection
from ledger.store.subscription import Doorbell

LONG: Final = 60.0
SOON: Final = 0.05
NOTIFY: Final = "NOTIFY ledger_events, '1'"


@asynccontextmanager
async def hearing(dsn: str, *, poll_seconds: float = LONG) -> AsyncIterator[Doorbell]:
    """A doorbell that listens."""
    async with (
        asyncio.timeout(20),
        Doorbell(dsn, "ledger_events", poll_seconds=poll_seconds) as bell,
    ):
        await bell.listening.wait()
        yield bell


async def has_rung(bell: Doorbell, after: int) -> bool:
    """Whether it has rung since then."""
    return bell.count > after


async def test_a_notification_wakes_everyone_who_waits(
    dsn: str, connection: Connection
) -> None:
    """At once, and not one of them."""
    async with hearing(dsn) as bell:
        waiting = [asyncio.create_task(bell.wait_after(bell.count)) for _ in range(9)]
        await asyncio.sleep(0)
        await connection.execute(NOTIFY)
        await asyncio.gather(*waiting)


async def test_a_notification_before_the_wait_is_not_missed(
    dsn: str, connection: Connection
) -> None:
    """What counts is the count that was taken before reading."""
    async with hearing(dsn) as bell:
        count = bell.count
        await connection.execute(NOTIFY)
        await eventually(partial(has_rung, bell, count))
        await bell.wait_after(count)


async def test_nothing_is_waited_for_longer_than_a_poll(dsn: str) -> None:
    """A lost notification costs at most that."""
    async with hearing(dsn, poll_seconds=SOON) as bell:
        count = bell.count
        await bell.wait_after(count)
        assert bell.count == count


async def test_other_channels_do_not_ring(dsn: str, connection: Connection) -> None:
    """Nor do notifications that are rolled back."""
    async with hearing(dsn) as bell:
        count = bell.count
        await connection.execute("NOTIFY projections_advanced")
        await connection.execute(f"BEGIN; {NOTIFY}; ROLLBACK")
        await connection.execute(NOTIFY)
        await eventually(partial(has_rung, bell, count))
        assert bell.count == count + 1


async def test_a_doorbell_that_was_cut_off_listens_again_and_rings(
    dsn: str, connection: Connection
) -> None:
    """Something may have been appended while it could not hear."""
    async with hearing(dsn, poll_seconds=SOON) as bell:
        for _ in range(3):
            count = bell.count
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE "
                "datname = current_database() AND pid <> pg_backend_pid()"
            )
            await eventually(partial(has_rung, bell, count))
            assert bell.listening.is_set()


async def test_a_doorbell_outlives_a_refusal(
    server_url: str, connection: Connection
) -> None:
    """It listens as soon as it is let in."""
    name = await connection.fetchval("SELECT current_database() || '_later'")
    dsn = at_database(server_url, name)
    bell = Doorbell(dsn, "ledger_events", poll_seconds=SOON)
    async with bell, asyncio.timeout(20):
        with pytest.raises(asyncpg.InvalidCatalogNameError):
            await asyncpg.connect(dsn)
        await connection.execute(f"CREATE DATABASE {name} STRATEGY file_copy")
        await bell.listening.wait()
    await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


async def test_a_doorbell_may_be_left_twice_and_before_it_listens(dsn: str) -> None:
    """A stop may be called again."""
    bell = Doorbell(dsn, "ledger_events", poll_seconds=LONG)
    async with bell:
        pass
    await bell.__aexit__(None, None, None)
    await Doorbell(dsn, "x", poll_seconds=LONG).__aexit__(None, None, None)
