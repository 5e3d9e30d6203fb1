"""Batches and conflicts: what each signal is told, and what is decided again."""

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import pytest
from builders import MASTERS, SENDER, entry, signal

from ledger.command_handler import NOTHING_TO_DO, CommandHandler, Receipt
from ledger.domain.consent import Subject, evolve, nobody
from ledger.domain.events import ConsentChanged
from ledger.domain.ids import PhoneNumber, Position, Sender, SubjectId, Version
from ledger.errors import LedgerError, PreconditionFailed
from ledger.settings import Settings
from ledger.store.codec import Entry
from ledger.store.database import Connection, Pool, open_pool
from ledger.store.event_store import (
    Appended,
    Conflict,
    Duplicate,
    Outcome,
    Stream,
)
from ledger.store.keyring import Keyring
from ledger.store.postgres import PostgresEventStore
from ledger.store.subscription import Doorbell


def somebody() -> SubjectId:
    """A subject that nobody else uses."""
    return SubjectId(uuid4())


async def history_of(store: PostgresEventStore) -> list[tuple[int, str, str]]:
    """Version, previous status and status of every event."""
    recorded = await store.read_after(Position(0), 10_000)
    return [
        (event.version, event.previous_status, event.status)
        for _, event in recorded
        if isinstance(event, ConsentChanged)
    ]


# Grouped.


async def test_each_entry_of_a_batch_gets_its_own_outcome(
    store: PostgresEventStore,
) -> None:
    """A bad row does not fail its neighbours, before it or behind it."""
    [known] = await store.append([entry(somebody(), key="known")])
    assert isinstance(known, Appended)
    stale = entry(Subject(somebody(), Version(7), {}))
    outcomes = await store.append(
        [
            entry(somebody(), key="first"),
            stale,
            entry(somebody(), key="known"),
            entry(somebody(), key="first"),
            entry(somebody(), key="last"),
        ]
    )
    kinds = [Appended, Conflict, Duplicate, Duplicate, Appended]
    assert [type(outcome) for outcome in outcomes] == kinds
    assert outcomes[2:4] == [Duplicate(Position(1)), Duplicate(Position(2))]
    recorded = await store.read_after(Position(0), 9)
    assert [position for position, _ in recorded] == [1, 2, 3]


@pytest.mark.parametrize("version", [1, 2, 4, 99])
async def test_a_version_that_is_not_the_next_is_a_conflict(
    store: PostgresEventStore, version: int
) -> None:
    """Taken or left out, and alone in its batch as well: a stream has no hole."""
    somebodys = somebody()
    for before in range(2):
        await store.append([entry(Subject(somebodys, Version(before), {}))])
    wrong = entry(Subject(somebodys, Version(version - 1), {}))
    assert await store.append([wrong]) == [Conflict()]
    right = entry(Subject(somebodys, Version(2), {}))
    assert type((await store.append([right]))[0]) is Appended
    assert [version for version, _, _ in await history_of(store)] == [1, 2, 3]


async def test_nothing_is_appended_for_an_empty_batch(
    store: PostgresEventStore,
) -> None:
    """And nothing goes wrong."""
    assert await store.append([]) == []
    assert await store.last_position() == 0


@pytest.mark.parametrize(
    "bad",
    [
        {"occurred_at": "no time at all"},
        {"sender": Sender("what JSON cannot hold \ud800")},
        {"evidence": {"what JSON cannot hold": object()}},
        {"evidence": {"a lone surrogate": "\ud800"}},
        {"expected_version": Version(99)},
    ],
)
async def test_a_signal_that_cannot_be_recorded_fails_alone(
    handler: CommandHandler, store: PostgresEventStore, bad: dict[str, Any]
) -> None:
    """Its neighbours in the batch are recorded, each with its own position."""
    good = [signal(phone_number=PhoneNumber(f"+1415555010{n}")) for n in range(4)]
    poison = signal(phone_number=PhoneNumber("+14155550109"), **bad)
    signals = [*good[:2], poison, *good[2:]]
    results = await asyncio.gather(
        *map(handler.handle, signals), return_exceptions=True
    )
    failed = results.pop(2)
    assert isinstance(failed, Exception)
    assert not isinstance(failed, LedgerError) or "expected_version" in bad
    receipts = [receipt for receipt in results if isinstance(receipt, Receipt)]
    assert sorted(receipt.position or 0 for receipt in receipts) == [1, 2, 3, 4]
    assert len(await history_of(store)) == 4


async def test_signals_of_one_batch_see_each_other(
    handler: CommandHandler, store: PostgresEventStore
) -> None:
    """The status before is that after the signal before, in the very transaction."""
    statuses = ["out", "in", "out", "out", "in"]
    signals = [signal(status=status) for status in statuses]
    receipts = await asyncio.gather(*map(handler.handle, signals))
    assert [receipt.position for receipt in receipts] == [1, 2, 3, 4, 5]
    assert await history_of(store) == [
        (1, "unknown", "out"),
        (2, "out", "in"),
        (3, "in", "out"),
        (4, "out", "out"),
        (5, "out", "in"),
    ]
    recorded = await store.read_after(Position(0), 9)
    assert len({event.recorded_at for _, event in recorded}) == 1


async def test_a_repeat_within_a_batch_is_told_the_first_ones_position(
    handler: CommandHandler, store: PostgresEventStore
) -> None:
    """Though the key became known only with the batch itself."""
    same, other = signal(), signal(status="in")
    signals = [same, same, other, same]
    receipts = await asyncio.gather(*map(handler.handle, signals))
    assert [receipt.position for receipt in receipts] == [1, 1, 2, 1]
    assert [receipt.is_new for receipt in receipts] == [True, False, True, False]
    assert await history_of(store) == [(1, "unknown", "out"), (2, "out", "in")]


async def test_a_signal_that_changes_nothing_appends_nothing(
    handler: CommandHandler, store: PostgresEventStore
) -> None:
    """It is answered all the same."""
    await handler.handle(signal(status="out"))
    yes = signal(status="in", undoes_out=False)
    assert await handler.handle(yes) == NOTHING_TO_DO
    assert len(await history_of(store)) == 1


async def test_a_batch_notifies_once_and_only_who_waits(
    store: PostgresEventStore, connection: Connection
) -> None:
    """With the position it reached; a batch that appends nothing stays quiet."""
    heard: asyncio.Queue[object] = asyncio.Queue()
    await connection.add_listener("ledger_events", lambda *a: heard.put_nowait(a[-1]))
    entries = [entry(somebody(), key=f"key {n}") for n in range(5)]
    await store.append(entries)
    assert await store.await_events() == 5
    await store.append(entries)
    await store.append([entry(somebody())])
    await store.append([entry(somebody())])
    assert await store.await_events() == 7
    await store.append([entry(somebody())])
    async with asyncio.timeout(10):
        assert [await heard.get() for _ in range(3)] == ["5", "6", "8"]
    assert heard.empty()


async def test_what_was_appended_before_the_wait_is_not_waited_for(
    store: PostgresEventStore, connection: Connection
) -> None:
    """Nobody was told of it: that is why the wait says where the ledger ends."""
    heard: asyncio.Queue[object] = asyncio.Queue()
    await store.append([entry(somebody())])
    await connection.add_listener("ledger_events", lambda *a: heard.put_nowait(a[-1]))
    read = await store.last_position()
    await store.append([entry(somebody())])
    assert await store.await_events() > read
    assert heard.empty()


async def test_nobody_waits_for_what_is_there(
    store: PostgresEventStore, dsn: str
) -> None:
    """A reader that never polls meets each event, though the next waits for that."""
    count, position, reached = 100, Position(0), asyncio.Event()
    async with (
        asyncio.timeout(60),
        Doorbell(dsn, "ledger_events", poll_seconds=3_600) as bell,
    ):
        await bell.listening.wait()
        appending = asyncio.create_task(append_after(store, count, reached))
        while position < count:
            rung = bell.count
            if rows := await store.read_after(position, 1):
                position = rows[-1].position
                reached.set()
            elif await store.await_events() == position:
                await bell.wait_after(rung)
        await appending


async def append_after(
    store: PostgresEventStore, count: int, reached: asyncio.Event
) -> None:
    """One event as soon as the one before was met, when the reader is about to wait."""
    for _ in range(count):
        await store.append([entry(somebody())])
        await reached.wait()
        reached.clear()


# Optimistic.


class Meddled(PostgresEventStore):
    """A store in which another process always appends first, for a while."""

    def __init__(self, pool: Pool, meddlers: Sequence[Entry]) -> None:
        super().__init__(pool)
        self.meddlers = list(meddlers)
        self.outcomes: list[Outcome] = []

    async def append(self, entries: Sequence[Entry]) -> list[Outcome]:
        """Between the decision and the append somebody else was faster."""
        if self.meddlers:
            await super().append([self.meddlers.pop(0)])
        outcomes = await super().append(entries)
        self.outcomes += outcomes
        return outcomes


async def test_a_conflict_is_decided_again(
    pool: Pool, keyring: Keyring, settings: Settings
) -> None:
    """On what the other process recorded: not lost, not refused, nobody else waits."""
    identity = await keyring.identity()
    subject = identity.subject_id(signal().phone_number)
    starts = [
        entry(Subject(subject, Version(n), {}), status="in", sender=SENDER)
        for n in range(3)
    ]
    store = Meddled(pool, starts)
    neighbour = signal(phone_number=PhoneNumber("+14155550101"))
    async with CommandHandler(store, keyring, settings) as handler:
        receipts = await asyncio.gather(
            handler.handle(signal(status="out")), handler.handle(neighbour)
        )
    kinds = [type(outcome) for outcome in store.outcomes]
    assert kinds == [Conflict, Appended, Conflict, Conflict, Appended]
    assert [receipt.position for receipt in receipts] == [5, 2]
    recorded = await store.read_after(Position(4), 1)
    assert [(e.version, getattr(e, "previous_status", None)) for _, e in recorded] == [
        (4, "in")
    ]


async def test_two_processes_share_a_subject(
    dsn: str, store: PostgresEventStore, settings: Settings
) -> None:
    """Each event of its stream follows from the one before, whoever recorded it."""
    pools = [await open_pool(dsn, settings, application="test") for _ in range(2)]
    async with pools[0], pools[1]:
        both = [
            CommandHandler(PostgresEventStore(p), Keyring(p, MASTERS), settings)
            for p in pools
        ]
        async with both[0], both[1]:
            signals = [signal(status=s) for s in ["out", "in"] * 20]
            handling = [both[n // 2 % 2].handle(s) for n, s in enumerate(signals)]
            receipts = await asyncio.gather(*handling)
    assert sorted(r.position or 0 for r in receipts) == list(range(1, 41))
    history = await history_of(store)
    assert [version for version, _, _ in history] == list(range(1, 41))
    befores = [before for _, before, _ in history]
    assert befores == ["unknown", *(status for _, _, status in history[:-1])]


RESTORE = """
ALTER TABLE ledger_events DISABLE TRIGGER ALL;
ALTER TABLE signal_keys DISABLE TRIGGER ALL;
DELETE FROM ledger_events WHERE notification_id > 1;
DELETE FROM signal_keys WHERE position > 1;
UPDATE ledger_position SET position = 1;
"""


async def test_a_ledger_that_was_set_back_is_recorded_in_again(
    handler: CommandHandler, store: PostgresEventStore, connection: Connection
) -> None:
    """A process does not insist on what it remembers of events that are gone."""
    for status in ("out", "in", "out"):
        await handler.handle(signal(status=status))
    # As after a failover to a standby that had not received the last two.
    await connection.execute(RESTORE)
    receipt = await handler.handle(signal(status="in"))
    assert receipt == Receipt(Position(2), is_new=True)
    assert await history_of(store) == [(1, "unknown", "out"), (2, "out", "in")]


async def test_of_two_who_expect_the_same_version_one_is_refused(
    handler: CommandHandler, store: PostgresEventStore
) -> None:
    """If-Match holds under the lock, not only when it was looked at."""
    both = [signal(expected_version=Version(0)) for _ in range(2)]
    results = await asyncio.gather(*map(handler.handle, both), return_exceptions=True)
    kinds = {type(result) for result in results}
    assert kinds == {Receipt, PreconditionFailed}
    assert len(await history_of(store)) == 1


@pytest.mark.parametrize("again", [1, 2, 5])
async def test_a_repeat_that_expects_a_version_is_told_the_first_ones_position(
    handler: CommandHandler, store: PostgresEventStore, again: int
) -> None:
    """At the same instant and later, though the version is another by then."""
    same = signal(key="key", expected_version=Version(0))
    handling = [handler.handle(same) for _ in range(again)]
    receipts = await asyncio.gather(*handling)
    receipts.append(await handler.handle(same))
    assert [receipt.position for receipt in receipts] == [1] * (again + 1)
    assert [receipt.is_new for receipt in receipts].count(True) == 1
    assert len(await history_of(store)) == 1


async def test_a_stream_is_read_after_a_version(store: PostgresEventStore) -> None:
    """Of several subjects at once, oldest first; of a stranger, nothing."""
    known = nobody(somebody())
    for status in ("out", "in", "out"):
        await store.append([entry(known, status=status)])
        [*_, (_, event)] = await store.read_after(Position(0), 9)
        known = evolve(known, event)
    stranger = somebody()
    streams = await store.read_streams({known.id: Version(1), stranger: Version(0)})
    assert [event.version for _, event in streams[known.id].events] == [2, 3]
    assert streams[known.id].key is not None
    assert streams[stranger] == Stream()


@pytest.mark.parametrize("join", ["nestloop", "hashjoin", "mergejoin"])
async def test_a_stream_is_read_in_order_whatever_the_plan(
    dsn: str, connection: Connection, settings: Settings, join: str
) -> None:
    """What is out of order would fold to an old version, and conflict for ever."""
    name = await connection.fetchval("SELECT current_database()")
    for other in {"nestloop", "hashjoin", "mergejoin"} - {join}:
        await connection.execute(f"ALTER DATABASE {name} SET enable_{other} = off")
    subjects = [somebody() for _ in range(3)]
    async with await open_pool(dsn, settings, application="test") as pool:
        store = PostgresEventStore(pool)
        for version in range(200):
            known = [Subject(subject, Version(version), {}) for subject in subjects]
            await store.append([entry(subject) for subject in known])
        streams = await store.read_streams(dict.fromkeys(subjects, Version(0)))
    for stream in streams.values():
        versions = [event.version for _, event in stream.events]
        assert versions == list(range(1, 201))
