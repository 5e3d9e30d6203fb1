"""Whatever is not as the events say is found, and named without naming a person."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final, Literal
from uuid import UUID

import pytest
from builders import MASTERS, signal
from conftest import CatchUp
from corruptions import (
    ANY_ROW_FAULTS,
    COMMON_FAULTS,
    LEDGER_FAULTS,
    NUMBER_SENDERS,
    NUMBERS,
    ROW_FAULTS,
    ROWS,
    changed,
)
from hypothesis import HealthCheck, given
from hypothesis import settings as example_settings
from hypothesis import strategies as st

from ledger.command_handler import CommandHandler
from ledger.domain.ids import EVERY_SENDER, PhoneNumber, Position, Sender, Status
from ledger.erasure import Erasures
from ledger.errors import NotFound, OnHold, StoreUnavailable
from ledger.store.database import Connection, Pool
from ledger.store.keyring import Keyring
from projections import check as check_module
from projections.app import PROJECTIONS
from projections.check import Check
from projections.comparison import Difference
from projections.report import Report
from projections.worker import Means, Worker

MG: Final = Sender("MG" + "c" * 32)
SENDERS: Final = (Sender("+14155550199"), MG, EVERY_SENDER)
WHY: Final = {"reason": "a test", "actor": "test"}
_numbers = itertools.count(1)

CheckNow = Callable[[], Awaitable[Report]]


@pytest.fixture
def check(pool: Pool) -> CheckNow:
    """Fold the whole ledger and compare."""

    async def run() -> Report:
        checking = Check(pool, MASTERS, PROJECTIONS)
        return await checking.run(await checking.begin())

    return run


def a_number() -> PhoneNumber:
    """One that nobody has used."""
    return PhoneNumber(f"+1415777{next(_numbers):04}")


async def people(handler: CommandHandler, erasures: Erasures) -> list[PhoneNumber]:
    """Four people: two senders, one sender, one under a hold, and one erased."""
    numbers = [a_number() for _ in range(4)]
    long_ago = datetime.now(UTC) - timedelta(days=700)
    said: list[tuple[int, Sender, Status, datetime | None]] = [
        (0, SENDERS[0], "in", None),
        (0, MG, "out", None),
        (0, MG, "in", long_ago),
        (1, MG, "out", None),
        (2, EVERY_SENDER, "in", None),
        (3, MG, "out", None),
    ]
    for n, sender, status, at in said:
        await handler.handle(
            signal(
                phone_number=numbers[n], sender=sender, status=status, occurred_at=at
            )
        )
    until = datetime.now(UTC) + timedelta(days=30)
    await erasures.hold(numbers[2], until=until, **WHY)
    await erasures.erase(numbers[3], **WHY)
    return numbers


@pytest.fixture
async def ids(
    handler: CommandHandler,
    erasures: Erasures,
    keyring: Keyring,
    catch_up: CatchUp,
    connection: Connection,
) -> list[UUID]:
    """The ids of those people, in a ledger whose projections are up to date.

    From here on nothing stops the test's connection from changing anything.
    """
    numbers = await people(handler, erasures)
    await catch_up()
    await connection.execute("SET session_replication_role = replica")
    identity = await keyring.identity()
    return [identity.subject_id(number) for number in numbers]


async def test_a_sound_ledger_has_no_difference(
    check: CheckNow, ids: list[UUID]
) -> None:
    """And the report says how much was looked at."""
    report = await check()
    assert report.differences == {}
    assert (report.position, report.events, report.subjects, report.erased) == (
        8,
        8,
        len(ids),
        1,
    )
    assert report.rows == {
        "phone_numbers_v1": 3,
        "phone_number_senders_v1": 4,
        "consent_history_v1": 5,
        "messages_v1": 0,
    }
    assert set(report.checkpoints.values()) == {8}


async def test_an_empty_ledger_has_no_difference(check: CheckNow) -> None:
    """There is one slice, and nothing in it."""
    report = await check()
    assert (report.differences, report.events) == ({}, 0)


async def test_a_row_that_no_events_make_is_found(
    check: CheckNow, connection: Connection, ids: list[UUID]
) -> None:
    """It is named by its table, its subject and what is wrong with it."""
    for change, table, kind in ROW_FAULTS:
        async with changed(connection, change, ids[1]):
            report = await check()
        assert dict(report.differences) == {(table, kind): 1}, change
        [example] = report.examples
        assert example.subject_id == ids[1]
        assert "+1415" not in str(example)
    assert (await check()).differences == {}


async def test_what_differs_is_shown(
    check: CheckNow, connection: Connection, ids: list[UUID]
) -> None:
    """The columns that differ, as stored and as the events say, but never a number."""
    await connection.execute(
        "UPDATE phone_number_senders_v1 SET status = 'in', phone_number = '+1'"
        " WHERE subject_id = $1",
        ids[1],
    )
    [example] = (await check()).examples
    assert example == Difference(
        NUMBER_SENDERS,
        "altered",
        ids[1],
        {"sender": MG},
        {"phone_number": "(not shown)", "status": "in"},
        {"phone_number": "(not shown)", "status": "out"},
    )


async def test_a_fault_of_the_ledger_itself_is_found(
    check: CheckNow, connection: Connection, ids: list[UUID]
) -> None:
    """An event that is gone, altered or elsewhere; a key that is gone."""
    for change, expected in LEDGER_FAULTS:
        async with changed(connection, change, ids[1]):
            report = await check()
        assert set(report.differences) == expected, change
        # Whoever looks at it, it is one event.
        assert report.differences["ledger_events", "unreadable"] <= 1
        subjects = {example.subject_id for example in report.examples}
        assert subjects - {None} == {ids[1]}, change


async def test_what_no_single_person_shows_is_found(
    check: CheckNow, connection: Connection, ids: list[UUID]
) -> None:
    """A signal that was lost or moved, a checkpoint, what stays of the erased."""
    assert ids
    for change, expected in COMMON_FAULTS:
        async with changed(connection, change):
            report = await check()
        assert set(report.differences) == expected, change


async def test_an_event_in_the_middle_is_missed(
    check: CheckNow, connection: Connection, ids: list[UUID]
) -> None:
    """By its place in its subject's stream, and by its position in the ledger."""
    await connection.execute("DELETE FROM ledger_events WHERE notification_id = 2")
    missing = [e for e in (await check()).examples if e.kind == "missing"]
    assert missing == [
        Difference("ledger_events", "missing", ids[0], {"version": 2, "before": 3}),
        Difference("ledger_events", "missing", None, {"position": 2}),
    ]


async def test_a_row_of_the_erased_is_found(
    check: CheckNow, connection: Connection, ids: list[UUID]
) -> None:
    """Whoever was erased has no row and no key."""
    await connection.execute(
        "INSERT INTO phone_numbers_v1 VALUES ($1, '+1', 'out', now(), 7, 1, now())",
        ids[3],
    )
    assert dict((await check()).differences) == {(NUMBERS, "erased"): 1}


async def test_a_projection_that_is_behind_is_not_wrong(
    check: CheckNow,
    means: Means,
    handler: CommandHandler,
    erasures: Erasures,
) -> None:
    """It is compared where it stands, before and after an erasure that it passes."""
    await people(handler, erasures)
    worker = Worker(PROJECTIONS, means)
    for position in range(9):
        report = await check()
        assert report.differences == {}
        assert set(report.checkpoints.values()) == {position}
        await step_of(worker, position)
    assert (await check()).differences == {}


async def step_of(worker: Worker, position: int) -> None:
    """Apply the event after a position."""
    batch = await worker.read(Position(position), 1, PROJECTIONS)
    if batch.positions:
        await worker._advance(batch, PROJECTIONS)  # noqa: SLF001


async def test_it_can_be_checked_while_it_works(
    check: CheckNow, handler: CommandHandler, projector: None, erasures: Erasures
) -> None:
    """Texts, erasures and projections go on beside it, and nothing looks wrong."""
    assert projector is None
    numbers = [a_number() for _ in range(10)]

    async def texts() -> None:
        for n in range(60):
            number, sender = numbers[n % 10], SENDERS[n % 3]
            await handler.handle(signal(phone_number=number, sender=sender))
            if n % 7 == 0:
                await erasures.erase(number, **WHY)

    working = asyncio.create_task(texts())
    checked = 0
    while not working.done() or not checked:
        assert (await check()).differences == {}
        checked += 1
    await working
    assert (await check()).differences == {}


async def test_many_slices_find_what_one_finds(
    check: CheckNow,
    connection: Connection,
    ids: list[UUID],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However finely the subjects are cut, each is compared once."""
    monkeypatch.setattr(check_module, "EVENTS_A_SLICE", 1)
    monkeypatch.setattr("ledger.store.scan.POSITIONS", 3)
    assert (await check()).events == 8
    await connection.execute(
        "DELETE FROM ledger_events WHERE originator_id = $1", ids[0]
    )
    found = (await check()).differences
    assert found["ledger_events", "missing"] == 3


async def test_a_database_that_fails_says_so(
    check: CheckNow, connection: Connection, ids: list[UUID]
) -> None:
    """Both readers fail, and one error says why."""
    assert ids
    await connection.execute("DROP TABLE erased_subjects")
    with pytest.raises(Exception, match="erased_subjects") as caught:
        await check()
    assert not isinstance(caught.value, ExceptionGroup | StoreUnavailable)


# For any history.

Step = tuple[Literal["say", "hold", "erase"], int, int, Status, int | None]
step: st.SearchStrategy[Step] = st.tuples(
    st.sampled_from(("say", "say", "say", "say", "hold", "erase")),
    st.integers(0, 2),
    st.integers(0, 2),
    st.sampled_from(("in", "out")),
    st.none() | st.integers(0, 5),
)


@example_settings(
    max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    steps=st.lists(step, min_size=1, max_size=12),
    fault=st.tuples(
        st.sampled_from(ROWS), st.sampled_from(ANY_ROW_FAULTS), st.integers(0, 1000)
    ),
)
async def test_any_history_is_sound_until_a_row_is_changed(
    *,
    check: CheckNow,
    means: Means,
    connection: Connection,
    steps: list[Step],
    fault: tuple[str, str, int],
) -> None:
    """No difference for what happens, one at least for what is done behind its back."""
    numbers = [a_number() for _ in range(3)]
    erasures = Erasures(means.pool, means.store, means.keyring)
    async with CommandHandler(means.store, means.keyring, means.settings) as handler:
        for taken in steps:
            await take(handler, erasures, numbers, taken)
    assert (await check()).differences == {}
    await Worker(PROJECTIONS, means).catch_up()
    assert (await check()).differences == {}
    table, change, row = fault
    rows = await connection.fetch(f"SELECT ctid FROM {table} ORDER BY ctid")  # noqa: S608
    if rows:
        corruption = change.format(table=table)
        async with changed(connection, corruption, rows[row % len(rows)][0]):
            report = await check()
        assert {name for name, _ in report.differences} == {table}


async def take(
    handler: CommandHandler,
    erasures: Erasures,
    numbers: Sequence[PhoneNumber],
    taken: Step,
) -> None:
    """One of the people says something, is held or is erased."""
    act, n, sender, status, ago = taken
    now = datetime.now(UTC)
    said = signal(
        phone_number=numbers[n],
        sender=SENDERS[sender],
        status=status,
        occurred_at=None if ago is None else now - timedelta(minutes=ago),
    )
    with suppress(NotFound, OnHold):
        if act == "say":
            await handler.handle(said)
        elif act == "hold":
            until = now + timedelta(minutes=1)
            await erasures.hold(numbers[n], until=until, **WHY)
        else:
            await erasures.erase(numbers[n], **WHY)
