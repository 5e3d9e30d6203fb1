"""The tables are a fold of the events, whoever fills them and however often."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple

import asyncpg
import pytest
from builders import signal
from conftest import eventually, settings_for
from hypothesis import HealthCheck, given
from hypothesis import settings as example_settings
from hypothesis import strategies as st

from ledger.command_handler import CommandHandler
from ledger.domain.consent import deciding, evolve, nobody, overall_deciding
from ledger.domain.events import ConsentChanged
from ledger.domain.ids import (
    EVERY_SENDER,
    PhoneNumber,
    Position,
    Sender,
    Status,
)
from ledger.erasure import Erasures
from ledger.errors import NotFound, OnHold
from ledger.settings import Settings
from ledger.store.codec import StoredRow, decode
from ledger.store.database import Connection, Pool, open_pool
from ledger.store.postgres import PostgresEventStore
from projections import projection as projection_module
from projections.app import PROJECTIONS
from projections.consent_history import ConsentHistory
from projections.digests import digests_of
from projections.phone_numbers import PhoneNumbers
from projections.projection import Batch, Overtaken, Projection, advance
from projections.worker import Means, Worker

Row = tuple[object, ...]
SENDERS = (Sender("+14155550101"), Sender("MG1"), Sender("whatsapp:+1"), EVERY_SENDER)
NUMBERS = "SELECT * FROM phone_numbers_v1 ORDER BY subject_id"
NUMBER_SENDERS = "SELECT * FROM phone_number_senders_v1 ORDER BY subject_id, sender"
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


async def folded(means: Means) -> Tables:
    """What the rows must be: each subject's whole stream, folded by the rules alone.

    Of those who have a key still: who was erased has no rows.
    """
    recorded = await means.store.read_after(Position(0), 100_000)
    consents = [event for _, event in recorded if isinstance(event, ConsentChanged)]
    people = await means.keyring.phone_numbers(consents)
    tables = Tables([], [], [])
    for subject_id in sorted(people):
        stream = [each for each in recorded if each.event.subject_id == subject_id]
        positions = {event.version: position for position, event in stream}
        who, subject = (subject_id, people[subject_id]), nobody(subject_id)
        for _, event in stream:
            subject = evolve(subject, event)
        decisive, (last_position, last) = overall_deciding(subject.facts), stream[-1]
        assert decisive is not None
        now = (last_position, last.version, last.recorded_at)
        tables.numbers.append((*who, decisive.status, decisive.occurred_at, *now))
        for sender in sorted(subject.facts):
            fact = deciding(subject.facts, sender)
            assert fact is not None
            when = (fact.occurred_at, positions[fact.version], fact.version)
            tables.senders.append((*who, sender, fact.status, *when))
    for position, e in recorded:
        if isinstance(e, ConsentChanged) and e.subject_id in people:
            what = (e.sender, e.status, e.previous_status, e.occurred_at, e.recorded_at)
            why = (e.source, e.matched_by, e.actor)
            tables.history.append((e.subject_id, position, e.version, *what, *why))
    return tables


def a_number() -> PhoneNumber:
    """One that nobody has used."""
    return PhoneNumber(f"+1415{next(_numbers):07}")


async def append_some(means: Means, count: int = 20) -> list[PhoneNumber]:
    """A few numbers say a few things, in one batch or two."""
    numbers = [a_number() for _ in range(4)]
    async with handler_of(means) as handler:
        signals = [
            signal(
                phone_number=numbers[n % 4],
                sender=SENDERS[n % 3],
                status="in" if n % 5 else "out",
            )
            for n in range(count)
        ]
        await asyncio.gather(*map(handler.handle, signals))
    return numbers


def handler_of(means: Means) -> CommandHandler:
    """What records signals."""
    given_settings = Settings.from_mapping({"LEDGER_BATCH_MAX": "7"})
    return CommandHandler(means.store, means.keyring, given_settings)


def erasures_of(means: Means) -> Erasures:
    """What erases."""
    return Erasures(means.pool, means.store, means.keyring)


async def batch_of(means: Means, after: int, count: int) -> Batch:
    """Events as a worker hands them to projections."""
    rows = await means.store.read_rows_after(Position(after), count)
    events = [decode(row) for row in rows]
    first = [
        event
        for _, event in events
        if isinstance(event, ConsentChanged) and event.version == 1
    ]
    begun = await means.keyring.phone_numbers(first)
    return Batch(events, begun, frozenset(), digests_of(rows))


async def checkpoints(connection: Connection) -> dict[str, int]:
    """How far each projection is."""
    rows = await connection.fetch("SELECT name, position FROM projections")
    return {row["name"]: row["position"] for row in rows}


# Equal to a fold.

minutes = st.none() | st.integers(0, 5)
statuses: st.SearchStrategy[Status] = st.sampled_from(("in", "out"))
said = st.tuples(st.integers(0, 2), st.sampled_from(SENDERS), statuses, minutes)
Done = Literal["hold", "release", "erase"]
acts: st.SearchStrategy[Done] = st.sampled_from(("hold", "release", "erase"))
step = st.tuples(
    st.lists(said, max_size=8),
    st.lists(st.tuples(acts, st.integers(0, 2)), max_size=2),
    st.booleans(),
)


@example_settings(
    max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=st.lists(step, max_size=5), batch_max=st.sampled_from((1, 2, 3, 100)))
async def test_the_tables_are_a_fold_of_any_history(
    *,
    dsn: str,
    means: Means,
    connection: Connection,
    steps: list[
        tuple[
            list[tuple[int, Sender, Status, int | None]],
            list[tuple[Done, int]],
            bool,
        ]
    ],
    batch_max: int,
) -> None:
    """For facts that come in any order, in any batches, and erasures amid them.

    Whether the projections come along or have it all still to do.
    """
    numbers, now = [a_number() for _ in range(3)], datetime.now(UTC)
    settings = settings_for(dsn, LEDGER_PROJECTION_BATCH_MAX=str(batch_max))
    worker = Worker(PROJECTIONS, replace(means, settings=settings))
    async with handler_of(means) as handler:
        for words, acts_done, comes_along in steps:
            signals = [
                signal(
                    phone_number=numbers[n],
                    sender=sender,
                    status=status,
                    occurred_at=None if ago is None else now - timedelta(minutes=ago),
                )
                for n, sender, status, ago in words
            ]
            await asyncio.gather(*map(handler.handle, signals))
            for act, n in acts_done:
                await do(means, act, numbers[n])
            if comes_along:
                await worker.catch_up()
    await worker.catch_up()
    assert await shown(connection) == await folded(means)
    last = await means.store.last_position()
    assert await checkpoints(connection) == {p.name: last for p in PROJECTIONS}


async def do(means: Means, act: Done, number: PhoneNumber) -> None:
    """Hold, release or erase a number, if that is possible."""
    erasures, said_why = erasures_of(means), {"reason": "a test", "actor": "test"}
    with suppress(NotFound, OnHold):
        if act == "hold":
            until = datetime.now(UTC) + timedelta(days=1)
            await erasures.hold(number, until=until, **said_why)
        elif act == "release":
            await erasures.release(number, **said_why)
        else:
            await erasures.erase(number, **said_why)


# Erasures.


@pytest.mark.parametrize("reached", [0, 3, 20])
async def test_an_erasure_takes_the_rows_of_any_table_at_once(
    means: Means, connection: Connection, reached: int
) -> None:
    """Before the projections come to it; those that come later find nobody there."""
    numbers = await append_some(means)
    if reached:
        await advance(connection, PROJECTIONS, await batch_of(means, 0, reached))
    for number in numbers:
        await do(means, "erase", number)
    assert await shown(connection) == Tables([], [], [])
    await Worker(PROJECTIONS, means).catch_up()
    assert await shown(connection) == Tables([], [], [])


async def test_rows_that_are_written_during_an_erasure_go_with_its_event(
    means: Means, connection: Connection
) -> None:
    """What was opened just before the key was destroyed is written, and deleted."""
    numbers = await append_some(means)
    opened = await batch_of(means, 0, 20)
    await do(means, "erase", numbers[0])
    await advance(connection, PROJECTIONS, opened)
    assert len((await shown(connection)).numbers) == 4
    await Worker(PROJECTIONS, means).catch_up()
    assert len((await shown(connection)).numbers) == 3
    assert await shown(connection) == await folded(means)


async def test_a_hold_moves_version_and_position_and_nothing_else(
    means: Means, connection: Connection, catch_up: Callable[[], Awaitable[None]]
) -> None:
    """Of the number; its senders and its history do not know of it."""
    [number, *_] = await append_some(means)
    await catch_up()
    before = await shown(connection)
    await do(means, "hold", number)
    await catch_up()
    after = await shown(connection)
    assert (after.senders, after.history) == (before.senders, before.history)
    [(old, new)] = [
        pair
        for pair in zip(before.numbers, after.numbers, strict=True)
        if pair[0] != pair[1]
    ]
    assert new[:4] == old[:4]
    assert new[4:6] == (21, 6)


async def test_a_person_who_comes_back_has_rows_of_a_new_subject(
    means: Means, connection: Connection, catch_up: Callable[[], Awaitable[None]]
) -> None:
    """Under the same number, from version 1 on."""
    number = a_number()
    async with handler_of(means) as handler:
        await handler.handle(signal(phone_number=number))
        await do(means, "erase", number)
        await handler.handle(signal(phone_number=number, status="in"))
    await catch_up()
    [(subject_id, found, status, _, position, version, _)] = (
        await shown(connection)
    ).numbers
    identity = await means.keyring.identity()
    assert subject_id == identity.subject_id(number, 1)
    assert (found, status, position, version) == (number, "in", 3, 1)


async def test_the_longest_addresses_fit_into_every_index(
    means: Means, connection: Connection, catch_up: Callable[[], Awaitable[None]]
) -> None:
    """What the webhook lets through never stops a projection."""
    letters = "".join(chr(0x20000 + n * 97 % 42_000) for n in range(512))
    longest = Sender(letters[256:])
    async with handler_of(means) as handler:
        number = PhoneNumber(letters[:256])
        await handler.handle(signal(phone_number=number, sender=longest))
    await catch_up()
    assert await shown(connection) == await folded(means)


# Several workers.


async def test_who_begins_and_only_speaks_is_heard(means: Means) -> None:
    """The rest is decoded; and decoded, all of it is what the ledger holds."""
    numbers = await append_some(means)
    identity = await means.keyring.identity()
    held, erased, *plain = map(identity.subject_id, numbers)
    until = datetime(2100, 1, 1, tzinfo=UTC)
    why = {"reason": "a test", "actor": "test"}
    await erasures_of(means).hold(numbers[0], until=until, **why)
    await erasures_of(means).erase(numbers[1], **why)
    batch = await Worker(PROJECTIONS, means).read(Position(0), 100, PROJECTIONS)
    assert [heard.subject_id for heard in batch.heard] == sorted(plain)
    assert (set(batch.begun), set(batch.erased)) == ({held}, {erased})
    whole = batch.decoded()
    assert whole.others == await means.store.read_after(Position(0), 100)
    assert set(whole.begun) == {held, *plain}
    assert list(batch.positions) == list(whole.positions) == [*range(1, 23)]
    # Who goes on in a later batch has rows already.
    later = await Worker(PROJECTIONS, means).read(Position(4), 100, PROJECTIONS)
    assert not later.heard


async def test_two_workers_do_no_harm(
    dsn: str, means: Means, connection: Connection
) -> None:
    """One is overtaken by the other, and the rows are those of one."""
    settings = settings_for(dsn, LEDGER_PROJECTION_BATCH_MAX="3")
    async with AsyncExitStack() as stack:
        pools = [
            await stack.enter_async_context(
                await open_pool(dsn, settings, application="test")
            )
            for _ in range(4)
        ]
        everyone = [replace(means, pool=own, settings=settings) for own in pools]
        together = [Worker(PROJECTIONS, own) for own in everyone[:2]]
        alone = [Worker((p,), own) for own in everyone[2:] for p in PROJECTIONS]
        tasks = [asyncio.create_task(w.run()) for w in (*together, *alone)]
        for _ in range(5):
            await append_some(means)
        last = await means.store.last_position()
        everywhere = {p.name: last for p in PROJECTIONS}
        await eventually(lambda: equals(checkpoints(connection), everywhere))
        assert not any(task.done() for task in tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert await shown(connection) == await folded(means)


# On one reading of the ledger.


class CountingStore(PostgresEventStore):
    """Remembers what was read after."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        self.read: list[int] = []

    async def read_rows_after(
        self, position: Position, limit: int
    ) -> Sequence[StoredRow]:
        """As the store does."""
        self.read.append(position)
        return await super().read_rows_after(position, limit)


class Unable(PhoneNumbers):
    """Fails at position 6."""

    async def apply(self, connection: Connection, batch: Batch) -> None:
        """As the projection does, up to there."""
        if batch.positions[-1] >= 6:
            raise ValueError("not this one")
        await super().apply(connection, batch)


class Curable(Unable):
    """As that, until it is cured."""

    def __init__(self) -> None:
        super().__init__()
        self.is_cured = False
        self.failed = asyncio.Event()

    async def apply(self, connection: Connection, batch: Batch) -> None:
        """As the projection does, once it is cured."""
        if self.is_cured:
            return await PhoneNumbers.apply(self, connection, batch)
        if batch.positions == [6]:
            self.failed.set()
        return await super().apply(connection, batch)


@pytest.mark.parametrize(
    ("ahead", "read"), [(0, [*range(0, 21, 3), 20]), (2, [0, 0, *range(2, 21, 3)])]
)
async def test_projections_that_are_near_each_other_read_once(
    dsn: str, means: Means, connection: Connection, ahead: int, read: list[int]
) -> None:
    """And the tables are what they are when each reads by itself."""
    await append_some(means)
    if ahead:
        batch = await batch_of(means, 0, ahead)
        await advance(connection, [PhoneNumbers()], batch)
    counting = CountingStore(means.pool)
    settings = settings_for(dsn, LEDGER_PROJECTION_BATCH_MAX="3")
    near = replace(means, store=counting, settings=settings)
    assert await Worker(PROJECTIONS, near).catch_up() == 20
    assert counting.read == read
    assert await shown(connection) == await folded(means)


async def test_projections_that_are_far_apart_do_not_wait_for_each_other(
    dsn: str, means: Means, connection: Connection
) -> None:
    """Each goes on by itself, and both come to the end."""
    await append_some(means)
    batch = await batch_of(means, 0, 10)
    await advance(connection, [PhoneNumbers()], batch)
    settings = settings_for(dsn, LEDGER_PROJECTION_BATCH_MAX="3")
    worker = Worker(PROJECTIONS, replace(means, settings=settings))
    with pytest.raises(RuntimeError, match="apart"):
        await worker.catch_up()
    running = asyncio.create_task(worker.run())
    everywhere = {p.name: 20 for p in PROJECTIONS}
    await eventually(lambda: equals(checkpoints(connection), everywhere))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert await shown(connection) == await folded(means)


async def test_a_projection_that_cannot_go_on_holds_back_no_other(
    dsn: str, means: Means, connection: Connection
) -> None:
    """It stands before the event that it cannot apply; the other reaches the end."""
    await append_some(means)
    settings = settings_for(dsn, LEDGER_PROJECTION_BATCH_MAX="4")
    projections = (Unable(), ConsentHistory())
    worker = Worker(projections, replace(means, settings=settings))
    running = asyncio.create_task(worker.run())
    where = {"phone_numbers": 5, "consent_history": 20, "messages": 0}
    await eventually(lambda: equals(checkpoints(connection), where))
    reason = "SELECT stopped_reason FROM projections WHERE name = 'phone_numbers'"
    await eventually(
        lambda: equals(connection.fetchval(reason), "ValueError: not this one")
    )
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize("is_apart", [False, True])
async def test_what_has_stopped_tries_again(
    dsn: str,
    means: Means,
    connection: Connection,
    caplog: pytest.LogCaptureFixture,
    *,
    is_apart: bool,
) -> None:
    """With the same event first, and says once why; cured, all is as the events say."""
    await append_some(means)
    settings = settings_for(dsn, LEDGER_PROJECTION_BATCH_MAX="4")
    curable, tries = Curable(), 4
    projections = (curable, *(PROJECTIONS[1:] if is_apart else ()))
    near = replace(means, settings=settings)
    worker = Worker(projections, near, again_seconds=0.001)
    running = asyncio.create_task(worker.run())
    async with asyncio.timeout(20):
        for _ in range(tries):
            curable.failed.clear()
            await curable.failed.wait()
    assert (await checkpoints(connection))["phone_numbers"] == 5
    reason = "SELECT stopped_reason FROM projections WHERE name = 'phone_numbers'"
    assert await connection.fetchval(reason) == "ValueError: not this one"
    assert [r.message for r in caplog.records].count("projection_stopped") == 1
    curable.is_cured = True
    ended = {p.name: 0 for p in PROJECTIONS} | {p.name: 20 for p in projections}
    await eventually(lambda: equals(checkpoints(connection), ended))
    assert await connection.fetchval(reason) is None
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    # The history is another's.
    assert (await shown(connection))[:2] == (await folded(means))[:2]


async def test_whoever_has_nothing_to_do_has_not_stopped(
    means: Means, connection: Connection
) -> None:
    """What kept it from beginning is over, and there may be no event to show it."""
    await connection.execute("UPDATE projections SET stopped_reason = 'a right'")
    running = asyncio.create_task(Worker(PROJECTIONS, means).run())
    left = "SELECT count(*) FROM projections WHERE stopped_reason IS NOT NULL"
    await eventually(lambda: equals(connection.fetchval(left), 0))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_numbers_that_cannot_be_opened_hold_back_no_history(
    means: Means, connection: Connection
) -> None:
    """It holds none."""
    await append_some(means)
    other = "UPDATE subject_keys SET master_key = 'another'"
    await connection.execute(other)
    running = asyncio.create_task(Worker(PROJECTIONS, means).run())
    where = {"phone_numbers": 0, "consent_history": 20, "messages": 20}
    await eventually(lambda: equals(checkpoints(connection), where))
    reason = "SELECT stopped_reason FROM projections WHERE name = 'phone_numbers'"

    async def is_said() -> bool:
        said_why = await connection.fetchval(reason)
        return bool(said_why and said_why.startswith("MasterKeyMissing"))

    await eventually(is_said)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def equals(found: Awaitable[object], expected: object) -> bool:
    """Whether it is so now."""
    return await found == expected


@pytest.mark.parametrize(
    "projections",
    [*((p,) for p in PROJECTIONS), PROJECTIONS],
    ids=lambda given: "+".join(p.name for p in given),
)
@pytest.mark.parametrize("read", [1, 10, 20])
async def test_a_zombie_writes_nothing(
    means: Means,
    connection: Connection,
    projections: Sequence[Projection],
    read: int,
) -> None:
    """What was read before another worker went on is thrown away."""
    await append_some(means)
    stale = await batch_of(means, 0, read)
    await Worker(projections[:1], means).catch_up()
    before = await shown(connection)
    with pytest.raises(Overtaken):
        await advance(connection, projections, stale)
    assert await shown(connection) == before
    assert (await checkpoints(connection))[projections[0].name] == 20


UNGUARDED = projection_module._ADVANCE.replace(  # noqa: SLF001
    "AND p.position = $3", "AND $3 >= 0"
).replace("SET position = $4", "SET position = greatest(p.position, $4)")


async def test_without_compare_and_set_a_zombie_does_write(
    means: Means,
    connection: Connection,
    catch_up: Callable[[], Awaitable[None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So it is the guard that holds it back, and the test above can fail."""
    await append_some(means)
    stale = await batch_of(means, 0, 2)
    await catch_up()
    monkeypatch.setattr(projection_module, "_ADVANCE", UNGUARDED)
    await advance(connection, [PhoneNumbers()], stale)
    assert await shown(connection) != await folded(means)
    with pytest.raises(asyncpg.UniqueViolationError):
        await advance(connection, [ConsentHistory()], stale)


async def test_a_second_worker_waits_before_it_has_written(
    dsn: str, means: Means, connection: Connection
) -> None:
    """At the checkpoint, whose holder may still fail; then it does the work."""
    await append_some(means)
    batch = await batch_of(means, 0, 20)
    other = await asyncpg.connect(dsn)
    holding = other.transaction()
    await holding.start()
    await advance(other, PROJECTIONS, batch)
    second = asyncio.create_task(advance(connection, PROJECTIONS, batch))
    await eventually(lambda: waits_for_a_lock(means.pool))
    await holding.rollback()
    await second
    assert await checkpoints(connection) == {p.name: 20 for p in PROJECTIONS}
    await other.close()


async def waits_for_a_lock(pool: Pool) -> bool:
    """Whether somebody in this database waits for somebody else."""
    return bool(
        await pool.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE "
            "datname = current_database() AND wait_event_type = 'Lock'"
        )
    )
