"""What a switch is refused for, and what is accepted: just that, and by whom."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

import pytest
from builders import SENDER, signal
from conftest import CatchUp
from rebuild_steps import Seen, Steps, built, checked, rebuilt, work_of

from ledger.command_handler import CommandHandler
from ledger.domain.events import ProjectionSwitched
from ledger.domain.ids import PhoneNumber
from ledger.errors import RebuildBlocked, RebuildStuck, RebuildUnsound
from ledger.store.database import Connection
from projections import switching
from projections.likeness import Comparison, compare
from projections.phone_numbers import PhoneNumbers
from projections.rebuild import alone, drop_old, made
from projections.rebuilding import rebuild
from projections.switching import Approval, go_back
from projections.worker import Means, Worker

MG: Final = "MG" + "c" * 32
IN, OUT = PhoneNumber("+14155550101"), PhoneNumber("+14155550102")
THIRD, FOURTH = PhoneNumber("+14155550105"), PhoneNumber("+14155550106")
SERVING: Final = "SELECT version FROM projection_pointers WHERE name = 'phone_numbers'"

Say = Callable[[PhoneNumber, str], Awaitable[None]]

# What the version that serves says wrongly, and what that makes of a rebuild.
CHANGES: Final = {
    "out to in": (
        "UPDATE phone_numbers_v1 SET status = 'out' WHERE phone_number = $1",
        IN,
        ("out", "in"),
    ),
    "unknown to in": (
        "DELETE FROM phone_numbers_v1 WHERE phone_number = $1",
        IN,
        ("unknown", "in"),
    ),
    "in to out": (
        "UPDATE phone_numbers_v1 SET status = 'in' WHERE phone_number = $1",
        OUT,
        ("in", "out"),
    ),
    "unknown to out": (
        "DELETE FROM phone_numbers_v1 WHERE phone_number = $1",
        OUT,
        ("unknown", "out"),
    ),
    "out to in for a sender": (
        "UPDATE phone_number_senders_v1 SET status = 'out' WHERE phone_number = $1",
        IN,
        ("out", "in"),
    ),
    "unknown to in for a sender": (
        "DELETE FROM phone_number_senders_v1 WHERE phone_number = $1",
        IN,
        ("unknown", "in"),
    ),
    "in to out for a sender": (
        "UPDATE phone_number_senders_v1 SET status = 'in' WHERE phone_number = $1",
        OUT,
        ("in", "out"),
    ),
    "in to unknown": (
        (
            "INSERT INTO phone_numbers_v1 SELECT gen_random_uuid(), '+14155550103', "
            "'in', since, position, version, updated_at FROM phone_numbers_v1 "
            "WHERE phone_number = $1"
        ),
        IN,
        ("in", "unknown"),
    ),
}
HISTORY: Final = {
    "out to in": ("UPDATE consent_history_v1 SET status = 'out'", ("out", "in")),
    "unknown to in": ("DELETE FROM consent_history_v1", ("unknown", "in")),
    "in to out": ("UPDATE consent_history_v1 SET status = 'in'", ("in", "out")),
}


@pytest.fixture
def say(handler: CommandHandler, catch_up: CatchUp) -> Say:
    """Record what a number says, and have it in every version 1."""

    async def run(number: PhoneNumber, status: str) -> None:
        await handler.handle(signal(phone_number=number, status=status, sender=SENDER))
        await catch_up()

    return run


@pytest.fixture(autouse=True)
async def people(say: Say) -> None:
    """One who is in, and one who is out."""
    await say(IN, "in")
    await say(OUT, "out")


@pytest.fixture
async def steps(dsn: str, means: Means) -> AsyncIterator[Steps]:
    """A version that is as the events say, and ready to be compared."""
    async with built(dsn, means) as steps:
        yield steps


@pytest.mark.parametrize("name", CHANGES)
async def test_only_who_would_be_texted_blocks(
    steps: Steps, connection: Connection, name: str
) -> None:
    """Overall and to a sender; the event names the kinds, the subjects, and who."""
    change, number, kind = CHANGES[name]
    await connection.execute(change, number)
    if kind[1] == "in":
        with pytest.raises(RebuildBlocked, match=f"1 {kind[0]} to in: .*--accept"):
            await steps.switch()
        with pytest.raises(RebuildBlocked):
            await steps.switch("another")
        done = await steps.switch(steps.seen.compared[-1].report_id)
    else:
        done = await steps.switch()
    [found] = done.compared.changes
    assert (found.was, found.becomes, found.numbers) == (*kind, 1)
    event = await event_at(steps, done.position)
    assert event.accepted == (kind[1] == "in")
    assert event.report_id == done.compared.report_id
    assert event.actor == "test"
    assert event.changes == [
        {
            "was": kind[0],
            "becomes": kind[1],
            "numbers": 1,
            "examples": [str(subject_id) for subject_id in found.examples],
        }
    ]


@pytest.mark.parametrize("name", HISTORY)
async def test_histories_are_compared_entry_by_entry(
    dsn: str, means: Means, connection: Connection, name: str
) -> None:
    """A past that would say in where it did not is for somebody to accept."""
    change, kind = HISTORY[name]
    number = IN if kind[1] == "in" else OUT
    which = (
        " WHERE subject_id = (SELECT subject_id FROM phone_numbers_v1 "
        "WHERE phone_number = $1)"
    )
    await connection.execute(change + which, number)
    async with built(dsn, means, "consent_history") as steps:
        if kind[1] == "in":
            with pytest.raises(RebuildBlocked):
                await steps.switch()
        done = await steps.switch(
            steps.seen.compared[-1].report_id if kind[1] == "in" else None
        )
    [found] = done.compared.changes
    assert (found.was, found.becomes, found.numbers) == (*kind, 1)


async def test_an_accepted_report_is_of_its_numbers_alone(
    steps: Steps, connection: Connection, say: Say
) -> None:
    """One more number is another report; changes to out come and go."""
    await connection.execute("UPDATE phone_numbers_v1 SET status = 'out'")
    with pytest.raises(RebuildBlocked):
        await steps.switch()
    [old] = steps.seen.compared
    await say(third := PhoneNumber("+14155550104"), "in")
    await connection.execute(
        "UPDATE phone_numbers_v1 SET status = 'in' WHERE phone_number = $1", OUT
    )
    again = await compare(steps.connection, steps.target, steps.means)
    assert len(again.changes) == 2
    assert again.report_id == old.report_id
    await connection.execute(
        "UPDATE phone_numbers_v1 SET status = 'out' WHERE phone_number = $1", third
    )
    with pytest.raises(RebuildBlocked, match="2 out to in"):
        await steps.switch(old.report_id)


async def test_the_same_number_of_others_is_another_report(
    steps: Steps, connection: Connection, say: Say
) -> None:
    """It is of which numbers they are, and not of how many."""
    await say(other := PhoneNumber("+14155550104"), "in")
    reports = set()
    for number in (IN, other):
        await connection.execute("UPDATE phone_numbers_v1 SET status = 'in'")
        await connection.execute(
            "UPDATE phone_numbers_v1 SET status = 'out' WHERE phone_number = $1", number
        )
        compared = await compare(steps.connection, steps.target, steps.means)
        [risk] = compared.risks
        assert risk.numbers == 1
        reports.add(compared.report_id)
    assert len(reports) == 2


@pytest.mark.parametrize("is_accepted", [False, True])
async def test_a_risk_that_comes_after_the_comparison_is_found(
    steps: Steps,
    connection: Connection,
    say: Say,
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_accepted: bool,
) -> None:
    """Under the lock; also where others had been accepted, whom it must not follow."""
    third = PhoneNumber("+14155550104")
    accepted = None
    if is_accepted:
        change, number, _ = CHANGES["out to in"]
        await connection.execute(change, number)
        with pytest.raises(RebuildBlocked):
            await steps.switch()
        accepted = steps.seen.compared[-1].report_id
    comparing = compare

    async def compared(*arguments: object) -> Comparison:
        found = await comparing(*arguments)  # type: ignore[arg-type]
        if len(steps.seen.compared) == is_accepted:
            # The old version has it wrong, as one may that is built anew.
            await say(third, "in")
            await connection.execute(
                "UPDATE phone_numbers_v1 SET status = 'out' WHERE phone_number = $1",
                third,
            )
        return found

    monkeypatch.setattr(switching, "compare", compared)
    with pytest.raises(RebuildBlocked, match=f"{1 + is_accepted} out to in"):
        await steps.switch(accepted)
    pointer = "SELECT version FROM projection_pointers WHERE name = 'phone_numbers'"
    assert await connection.fetchval(pointer) == 1


async def test_what_came_after_the_comparison_is_applied(
    steps: Steps,
    connection: Connection,
    handler: CommandHandler,
    monkeypatch: pytest.MonkeyPatch,
    means: Means,
) -> None:
    """Whichever version is behind, both are at one position when it is done."""
    comparing = compare

    async def compared(*arguments: object) -> Comparison:
        found = await comparing(*arguments)  # type: ignore[arg-type]
        await handler.handle(signal(phone_number=IN, status="out"))
        await Worker((made(steps.target.serving),), means).catch_up()
        return found

    monkeypatch.setattr(switching, "compare", compared)
    await steps.switch()
    for version in (1, 2):
        read = f"SELECT status FROM phone_numbers_v{version} WHERE phone_number = $1"  # noqa: S608
        assert await connection.fetchval(read, IN) == "out"


async def test_going_back_is_held_to_the_same(
    dsn: str, means: Means, connection: Connection
) -> None:
    """Who was out by the version that serves is not texted because of another."""
    await rebuilt(dsn, means)
    await connection.execute("UPDATE phone_numbers_v2 SET status = 'out'")
    seen: list[Comparison] = []

    async def back(accepted: str | None) -> object:
        return await go_back(
            connection,
            "phone_numbers",
            means,
            Approval("test", accepted),
            lambda _, compared: seen.append(compared),
        )

    with pytest.raises(RebuildBlocked):
        await back(None)
    await back(seen[-1].report_id)


async def test_of_several_each_that_is_refused_is_named(
    dsn: str, means: Means, connection: Connection
) -> None:
    """With its own report: one may be accepted and the other not."""
    names = ("phone_numbers", "consent_history")
    for name in names:
        async with built(dsn, means, name):
            pass
    await connection.execute("UPDATE phone_numbers_v1 SET status = 'out'")
    await connection.execute("UPDATE consent_history_v1 SET status = 'out'")
    seen = Seen()
    with pytest.raises(RebuildBlocked) as refused:
        await rebuild(names, work_of(dsn, means, seen))
    reports = [compared.report_id for compared in seen.compared]
    assert len(reports) == len(names)
    assert all(told in str(refused.value) for told in (*names, *reports))


async def test_what_takes_no_more_events_is_named(
    dsn: str, means: Means, connection: Connection, handler: CommandHandler
) -> None:
    """Nothing can be compared with it; once what is in its way is gone, all goes on."""
    async with built(dsn, means, "consent_history") as steps:
        await connection.execute(
            "INSERT INTO consent_history_v1 SELECT subject_id, 3, 2, sender, status, "
            "status, occurred_at, recorded_at, source, matched_by, actor "
            "FROM consent_history_v1 WHERE position = 1"
        )
        await handler.handle(signal(phone_number=IN, status="out", sender=SENDER))
        with pytest.raises(RebuildStuck, match="version 1: UniqueViolationError"):
            await steps.switch()
        await connection.execute("DELETE FROM consent_history_v1 WHERE position = 3")
        assert (await steps.switch()).compared.changes == []


async def event_at(steps: Steps, position: int) -> ProjectionSwitched:
    """The event that says so."""
    [(_, event)] = await steps.means.store.read_at([position])  # type: ignore[list-item]
    assert isinstance(event, ProjectionSwitched)
    return event


# A version that serves and has stopped.


@pytest.fixture
async def stopped(
    means: Means, connection: Connection, handler: CommandHandler
) -> None:
    """Version 1 stands at 2: it cannot apply what a third one says, and who is out."""
    await connection.execute(
        "ALTER TABLE phone_numbers_v1 ADD CONSTRAINT nobody_such "
        f"CHECK (phone_number <> '{THIRD}')"
    )
    for number in (THIRD, OUT):
        await handler.handle(signal(phone_number=number, status="in"))
    await Worker((PhoneNumbers(),), means).run()


@pytest.mark.usefixtures("stopped")
async def test_one_that_has_stopped_is_no_reason_to_keep_it(
    dsn: str, means: Means, connection: Connection, handler: CommandHandler
) -> None:
    """Whoever has said nothing since is compared; the rest is to be accepted."""
    wrong = "UPDATE phone_numbers_v1 SET status = 'out' WHERE phone_number = $1"
    await connection.execute(wrong, IN)
    async with built(dsn, means) as steps:
        said = "1 out to in, the version that serves has stopped after 2, and 2 that"
        with pytest.raises(RebuildBlocked, match=said):
            await steps.switch()
        compared = steps.seen.compared[-1]
        # It is the same report, though somebody else says something.
        await handler.handle(signal(phone_number=FOURTH, status="in"))
        done = await steps.switch(compared.report_id)
        assert done.compared.stopped is not None
        assert "CheckViolationError" in done.compared.stopped.reason
        assert not done.compared.have_applied_the_same
        event = await event_at(steps, done.position)
    assert event.accepted
    assert event.changes[1:] == [{"not_compared_after": 2, "numbers": 3}]
    assert await connection.fetchval(SERVING) == 2
    assert (await checked(means)).rows["phone_numbers_v2"] == 4
    # And no reason to go back to it.
    with pytest.raises(RebuildStuck, match="version 1: CheckViolationError"):
        await go_back(
            connection, "phone_numbers", means, Approval("test"), lambda *_: None
        )


@pytest.mark.usefixtures("stopped")
async def test_one_that_goes_on_again_is_compared_whole(
    dsn: str, means: Means, connection: Connection
) -> None:
    """What was accepted of it while it stood is not accepted then."""
    async with built(dsn, means) as steps:
        with pytest.raises(RebuildBlocked):
            await steps.switch()
        report_id = steps.seen.compared[-1].report_id
        drop = "ALTER TABLE phone_numbers_v1 DROP CONSTRAINT nobody_such"
        await connection.execute(drop)
        await Worker((PhoneNumbers(),), means).catch_up()
        done = await steps.switch(report_id)
    assert done.compared.stopped is None
    assert done.compared.have_applied_the_same


# A version that serves and cannot be read.

BREAKS: Final = {
    "a table": ("DROP TABLE phone_number_senders_v1", "UndefinedTableError"),
    "a column": (
        "ALTER TABLE phone_numbers_v1 DROP COLUMN status CASCADE",
        "UndefinedColumnError",
    ),
    "a column that no comparison reads": (
        "ALTER TABLE phone_numbers_v1 DROP COLUMN updated_at",
        "UndefinedColumnError",
    ),
}


@pytest.mark.parametrize("is_stopped", [False, True])
@pytest.mark.parametrize("what", BREAKS)
async def test_one_that_cannot_be_read_is_no_reason_to_keep_it(  # noqa: PLR0913
    dsn: str,
    means: Means,
    connection: Connection,
    handler: CommandHandler,
    what: str,
    *,
    is_stopped: bool,
) -> None:
    """Nobody is compared, whether its projector runs or not; that is to be accepted."""
    broken, reason = BREAKS[what]
    await connection.execute(broken)
    await handler.handle(signal(phone_number=THIRD, status="in", sender=SENDER))
    if is_stopped:
        await Worker((PhoneNumbers(),), means).run()
    async with built(dsn, means) as steps:
        said = "serves cannot be read, and none of 3 can be compared: look"
        with pytest.raises(RebuildBlocked, match=said):
            await steps.switch()
        stopped = steps.seen.compared[-1].stopped
        assert stopped is not None
        assert stopped.reason == reason
        with pytest.raises(RebuildBlocked):
            await steps.switch("another")
        # It is the same report, though somebody else says something.
        await handler.handle(signal(phone_number=FOURTH, status="in", sender=SENDER))
        done = await steps.switch(steps.seen.compared[-1].report_id)
        event = await event_at(steps, done.position)
    assert event.accepted
    assert event.changes == [{"not_compared_after": 0, "numbers": 4}]
    assert await connection.fetchval(SERVING) == 2
    # It is dropped like any other, and then all there is is as the events say.
    async with alone(dsn, "phone_numbers") as own:
        assert await drop_old(own, "phone_numbers") == [1]
    report = await checked(means)
    assert (report.differences, report.rows["phone_numbers_v2"]) == ({}, 4)


@pytest.mark.parametrize("what", BREAKS)
async def test_one_that_cannot_be_read_is_not_gone_back_to(
    dsn: str, means: Means, connection: Connection, what: str
) -> None:
    """Nor is a new version let answer that cannot be read, whatever is accepted."""
    await rebuilt(dsn, means)
    broken, _ = BREAKS[what]
    await connection.execute(broken)
    arguments = (connection, "phone_numbers", means)
    with pytest.raises(RebuildStuck, match="version 1: Undefined"):
        await go_back(*arguments, Approval("test"), lambda *_: None)
    await connection.execute(broken.replace("_v1", "_v2"))
    with pytest.raises(RebuildStuck, match="version 1: Undefined"):
        await go_back(*arguments, Approval("test"), lambda *_: None)


@pytest.mark.parametrize("version", [1, 2])
async def test_what_was_applied_is_compared_again_before_the_switch(
    steps: Steps,
    connection: Connection,
    monkeypatch: pytest.MonkeyPatch,
    version: int,
) -> None:
    """Where it differs now, it is the new version that must be as the events say."""
    comparing = compare

    async def compared(*arguments: object) -> Comparison:
        found = await comparing(*arguments)  # type: ignore[arg-type]
        altering = "UPDATE projection_digests SET events = 9 WHERE version = $1"
        await connection.execute(altering, version)
        return found

    monkeypatch.setattr(switching, "compare", compared)
    if version == 1:
        assert not (await steps.switch()).compared.have_applied_the_same
    else:
        with pytest.raises(RebuildUnsound):
            await steps.switch()


async def test_of_texts_nothing_is_to_be_accepted(
    dsn: str, means: Means, connection: Connection
) -> None:
    """They say of nobody that they may be texted; but it is said, and recorded."""
    await connection.execute("DROP TABLE messages_v1")
    async with built(dsn, means, "messages") as steps:
        done = await steps.switch()
        event = await event_at(steps, done.position)
    assert not event.accepted
    assert event.changes == [{"not_compared_after": 0, "numbers": 2}]
