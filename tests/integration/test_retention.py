"""Evidence that is old enough goes; what was said stays, and so do holds."""

import asyncio
import os
import signal as signals
import subprocess
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

import asyncpg
import pytest
from builders import MASTER_KEY, MASTERS, NUMBER, signal
from conftest import CatchUp

from ledger.command_handler import CommandHandler
from ledger.domain.events import ConsentChanged, EvidenceErased, HoldPlaced
from ledger.domain.ids import THE_LEDGER, PhoneNumber, Position
from ledger.erasure import Erasures
from ledger.errors import InvalidRequest
from ledger.retention import Retention
from ledger.settings import Settings
from ledger.store.database import Connection, Pool, open_pool
from ledger.store.keyring import Keyring, Opened
from ledger.store.postgres import PostgresEventStore
from ledger.store.statements import statement

TODAY: Final = datetime.now(UTC).date()
OTHER: Final = PhoneNumber("+14155550101")
NEXT_YEAR: Final = datetime.now(UTC) + timedelta(days=365)
WHY: Final = {"reason": "claim 77", "actor": "key:office"}
STOP: Final = {"Body": "STOP"}
KEPT: Final = "SELECT count(*) FROM kept_evidence_keys"

KILLED: Final = """
import os, signal, sys
from ledger import retention
from ledger.__main__ import main

retention._columns = lambda _: os.kill(os.getpid(), signal.SIGKILL)
sys.argv = ["consent-ledger", "erase-evidence", "--older-than", "30"]
main()
"""

Say = Callable[[PhoneNumber, int], Awaitable[None]]
Look = Callable[[], Awaitable[list[Opened]]]
Interrupt = Callable[[Callable[[], Awaitable[object]]], None]


def day_ago(days: int) -> str:
    """The name of a day."""
    return (TODAY - timedelta(days=days)).isoformat()


@pytest.fixture
def say(
    store: PostgresEventStore,
    settings: Settings,
    pool: Pool,
    monkeypatch: pytest.MonkeyPatch,
) -> Say:
    """Records a STOP of a number, some days ago as far as its evidence is concerned."""

    async def record(number: PhoneNumber, days: int) -> None:
        then = datetime.combine(TODAY - timedelta(days=days), time(12), UTC)

        class Then(datetime):
            @classmethod
            def now(cls, tz: Any = None) -> datetime:  # type: ignore[override] # noqa: ARG003
                return then

        with monkeypatch.context() as patch:
            patch.setattr("ledger.store.keyring.datetime", Then)
            keyring = Keyring(pool, MASTERS)
            async with CommandHandler(store, keyring, settings) as handler:
                await handler.handle(signal(phone_number=number))

    return record


@pytest.fixture
def retention(pool: Pool, store: PostgresEventStore, keyring: Keyring) -> Retention:
    """What is tested."""
    return Retention(pool, store, keyring)


@pytest.fixture
def opened(store: PostgresEventStore, keyring: Keyring) -> Look:
    """Opens the personal data of every ConsentChanged, in order."""

    async def look() -> list[Opened]:
        recorded = await store.read_after(Position(0), 1000)
        return await keyring.opened(
            [event for _, event in recorded if isinstance(event, ConsentChanged)]
        )

    return look


@pytest.fixture
def interrupted(keyring: Keyring, monkeypatch: pytest.MonkeyPatch) -> Interrupt:
    """Has something happen between what is planned and what is done, once."""
    to_keep = keyring.to_keep

    def arrange(happening: Callable[[], Awaitable[object]]) -> None:
        async def late(wanted: Any) -> Any:
            kept = await to_keep(wanted)
            monkeypatch.setattr(keyring, "to_keep", to_keep)
            await happening()
            return kept

        monkeypatch.setattr(keyring, "to_keep", late)

    return arrange


async def test_old_evidence_goes_and_the_number_and_newer_evidence_stay(
    say: Say, retention: Retention, opened: Look
) -> None:
    """By whole days in UTC."""
    for days in (400, 31, 30, 0):
        await say(NUMBER, days)
    await retention.run(30, actor="cli:cron")
    found = await opened()
    assert [who.phone_number for who in found] == [NUMBER] * 4
    assert [who.evidence for who in found] == [None, None, STOP, STOP]


async def test_the_event_says_what_went(
    say: Say, retention: Retention, store: PostgresEventStore
) -> None:
    """On the ledger's own stream, one version after the other."""
    await say(NUMBER, 400)
    await say(NUMBER, 40)
    _, position = await retention.run(100, actor="cli:cron")
    await retention.run(30, actor="cli:cron")
    events = [e for _, e in await store.read_after(Position(2), 9)]
    assert position == 3
    assert [type(event) for event in events] == [EvidenceErased, EvidenceErased]
    assert {event.originator_id for event in events} == {THE_LEDGER}
    assert [event.version for event in events] == [1, 2]
    first = events[0]
    assert isinstance(first, EvidenceErased)
    assert first.before.date() == date.fromisoformat(day_ago(100))
    assert (first.days, first.held, first.actor) == (1, 0, "cli:cron")


async def test_an_event_is_never_touched(
    say: Say, retention: Retention, connection: Connection
) -> None:
    """What goes is a key."""
    await say(NUMBER, 400)
    events = "SELECT * FROM ledger_events WHERE notification_id = 1"
    before = await connection.fetch(events)
    await retention.run(30, actor="x")
    assert await connection.fetch(events) == before


async def test_a_dry_run_says_what_would_go_and_changes_nothing(
    say: Say,
    retention: Retention,
    erasures: Erasures,
    store: PostgresEventStore,
    opened: Look,
) -> None:
    """The days, and how many subjects keep theirs."""
    await say(NUMBER, 400)
    await say(OTHER, 399)
    await erasures.hold(OTHER, until=NEXT_YEAR, **WHY)
    plan = await retention.plan(30)
    assert (plan.days, plan.keepers) == ([day_ago(400), day_ago(399)], 1)
    assert await store.last_position() == 3
    assert [who.evidence for who in await opened()] == [STOP, STOP]


async def test_a_second_run_does_nothing(
    say: Say, retention: Retention, store: PostgresEventStore
) -> None:
    """So it may be run by cron, and again after any crash."""
    await say(NUMBER, 400)
    await retention.run(30, actor="x")
    plan, position = await retention.run(30, actor="x")
    assert (plan.days, position) == ([], None)
    assert await store.last_position() == 2


async def test_who_is_under_a_hold_keeps_what_opens_theirs(
    say: Say,
    retention: Retention,
    erasures: Erasures,
    opened: Look,
    connection: Connection,
) -> None:
    """Of every day that they said something on, and nobody else's of the same day."""
    for number, days in ((NUMBER, 400), (OTHER, 400), (NUMBER, 200), (NUMBER, 0)):
        await say(number, days)
    await erasures.hold(NUMBER, until=NEXT_YEAR, **WHY)
    plan, _ = await retention.run(30, actor="x")
    assert plan.keepers == 1
    found = await opened()
    assert [who.evidence for who in found] == [STOP, None, STOP, STOP]
    assert [who.phone_number for who in found] == [NUMBER, OTHER, NUMBER, NUMBER]
    assert await connection.fetchval(KEPT) == 2


async def test_what_was_kept_goes_once_the_hold_is_released(
    say: Say,
    retention: Retention,
    erasures: Erasures,
    opened: Look,
    connection: Connection,
) -> None:
    """With the next run, and an event that says so though no day goes."""
    await say(NUMBER, 400)
    await erasures.hold(NUMBER, until=NEXT_YEAR, **WHY)
    await retention.run(30, actor="x")
    await erasures.release(NUMBER, **WHY)
    plan, position = await retention.run(30, actor="x")
    assert (plan.days, plan.drops, position) == ([], True, 5)
    assert (await opened())[0] == Opened(NUMBER, None)
    assert await connection.fetchval(KEPT) == 0
    assert (await retention.run(30, actor="x"))[1] is None


async def test_a_hold_that_has_ended_by_itself_keeps_nothing(
    say: Say,
    retention: Retention,
    erasures: Erasures,
    opened: Look,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody has to release it."""
    await say(NUMBER, 400)
    soon = datetime.now(UTC) + timedelta(hours=1)
    await erasures.hold(NUMBER, until=soon, **WHY)

    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override] # noqa: ARG003
            return soon + timedelta(seconds=1)

    monkeypatch.setattr("ledger.retention.datetime", Later)
    plan, _ = await retention.run(30, actor="x")
    assert plan.keepers == 0
    assert [who.evidence for who in await opened()] == [None]


async def test_a_hold_placed_meanwhile_is_kept(
    say: Say,
    retention: Retention,
    erasures: Erasures,
    opened: Look,
    interrupted: Interrupt,
) -> None:
    """Once it is recorded, however late, nothing of the number goes any more."""
    await say(NUMBER, 400)
    await say(OTHER, 400)
    interrupted(lambda: erasures.hold(NUMBER, until=NEXT_YEAR, **WHY))
    plan, position = await retention.run(30, actor="x")
    assert [who.evidence for who in await opened()] == [STOP, None]
    assert (plan.keepers, position) == (1, 4)


async def test_holds_placed_all_the_while_are_kept_from_their_position_on(
    say: Say,
    retention: Retention,
    erasures: Erasures,
    store: PostgresEventStore,
    keyring: Keyring,
) -> None:
    """Whatever the order: who was held before the event keeps theirs, nobody else."""
    numbers = [PhoneNumber(f"+1415555020{i}") for i in range(8)]
    for number in numbers:
        await say(number, 400)
    running = asyncio.create_task(retention.run(30, actor="x"))
    holds = [erasures.hold(n, until=NEXT_YEAR, **WHY) for n in numbers]
    await asyncio.gather(*holds)
    plan, position = await running
    recorded = await store.read_after(Position(0), 100)
    held = {e.subject_id: at for at, e in recorded if isinstance(e, HoldPlaced)}
    events = [e for _, e in recorded if isinstance(e, ConsentChanged)]
    assert position is not None
    for event, who in zip(events, await keyring.opened(events), strict=True):
        kept = held[event.subject_id] < position
        assert (who.evidence == STOP) == kept
    assert plan.keepers == sum(at < position for at in held.values())


async def test_who_is_erased_meanwhile_keeps_nothing(
    say: Say,
    retention: Retention,
    erasures: Erasures,
    interrupted: Interrupt,
    connection: Connection,
) -> None:
    """A hold may end, and its number be erased, just before what it keeps is stored."""
    await say(NUMBER, 400)
    await erasures.hold(NUMBER, until=NEXT_YEAR, **WHY)
    interrupted(lambda: connection.execute("DELETE FROM subject_keys"))
    await retention.run(30, actor="x")
    assert await connection.fetchval(KEPT) == 0


async def test_the_keys_go_in_one_transaction_with_the_event(
    say: Say,
    retention: Retention,
    erasures: Erasures,
    store: PostgresEventStore,
    connection: Connection,
) -> None:
    """Where anything fails, all is as before, and it may be run again."""
    await say(NUMBER, 400)
    await erasures.hold(NUMBER, until=NEXT_YEAR, **WHY)
    await connection.execute(
        "CREATE TRIGGER in_the_way BEFORE DELETE ON evidence_keys "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )
    with pytest.raises(asyncpg.RestrictViolationError):
        await retention.run(30, actor="x")
    assert await store.last_position() == 2
    assert await connection.fetchval(KEPT) == 0
    await connection.execute("DROP TRIGGER in_the_way ON evidence_keys")
    assert (await retention.run(30, actor="x"))[1] == 3
    assert await connection.fetchval(KEPT) == 1


async def test_a_run_that_is_killed_in_the_middle_has_done_nothing(
    say: Say, settings: Settings, retention: Retention, store: PostgresEventStore
) -> None:
    """After kill -9 before the commit all is there, and it may be run again."""
    await say(NUMBER, 400)
    environment = {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": str(settings.database_url),
        "LEDGER_MASTER_KEY": MASTER_KEY,
    }
    done = subprocess.run(  # noqa: ASYNC221 it is waited for
        [sys.executable, "-c", KILLED],
        env=environment,
        capture_output=True,
        check=False,
    )
    assert done.returncode == -signals.SIGKILL, done.stderr
    assert await store.last_position() == 1
    plan, position = await retention.run(30, actor="x")
    assert (plan.days, position) == ([day_ago(400)], 2)


async def test_two_at_once_destroy_a_day_once(
    say: Say, retention: Retention, store: PostgresEventStore
) -> None:
    """The one that comes second looks again, and finds nothing to do."""
    await say(NUMBER, 400)
    first = await retention.plan(30)
    await retention.run(30, actor="x")
    plans = iter([first])
    look = retention.plan

    async def stale(days_max: int) -> Any:
        return next(plans, None) or await look(days_max)

    retention.plan = stale  # type: ignore[method-assign]
    assert (await retention.run(30, actor="x"))[1] is None
    assert await store.last_position() == 2


@pytest.mark.parametrize("days_max", [-1, 0, 1])
async def test_an_age_under_two_days_is_refused(
    retention: Retention, days_max: int
) -> None:
    """Evidence of yesterday may still be on its way into the ledger."""
    with pytest.raises(InvalidRequest):
        await retention.run(days_max, actor="x")


async def test_the_dead_rows_go_as_well(
    say: Say, retention: Retention, connection: Connection
) -> None:
    """The tables are vacuumed once it is done, and an empty one takes no room."""
    await say(NUMBER, 400)
    await retention.run(30, actor="x")
    size = "SELECT pg_relation_size('evidence_keys')"
    assert await connection.fetchval(size) > 0
    await retention.vacuum()
    assert await connection.fetchval(size) == 0


async def test_a_role_that_may_not_vacuum_leaves_it_to_the_server(
    dsn: str, settings: Settings, retention: Retention, connection: Connection
) -> None:
    """It is no failure: what was destroyed is destroyed."""
    role = f"cron_{connection.get_server_pid()}"
    await connection.execute(f"CREATE ROLE {role}")
    url = f"{dsn}{'&' if '?' in dsn else '?'}role={role}"
    async with await open_pool(url, settings, application="test") as pool:
        await Retention(pool, retention._store, retention._keyring).vacuum()  # noqa: SLF001
    await connection.execute(f"DROP ROLE {role}")


async def test_projections_pass_over_it(
    say: Say, retention: Retention, catch_up: CatchUp, connection: Connection
) -> None:
    """They reach its position, and their tables stay as they were."""
    await say(NUMBER, 400)
    await catch_up()
    rows = "SELECT * FROM phone_numbers_v1"
    before = await connection.fetch(rows)
    _, position = await retention.run(30, actor="x")
    await catch_up()
    assert await connection.fetch(rows) == before
    reached = await connection.fetch("SELECT position FROM projections")
    assert {row["position"] for row in reached} == {position}


async def test_holds_are_found_by_their_index(connection: Connection) -> None:
    """However long the ledger is, it is not read for them."""
    await connection.execute("SET enable_seqscan = off")
    plan = await connection.fetch(f"EXPLAIN {statement('ledger', 'read_holds')}")
    assert "ledger_events_holds_idx" in "\n".join(row[0] for row in plan)
