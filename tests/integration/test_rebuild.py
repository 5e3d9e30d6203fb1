"""A rebuild, phase by phase: killed in each, cancelled, gone back on, forgotten."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any, Final

import asyncpg
import pytest
from builders import signal
from conftest import CatchUp, eventually
from rebuild_steps import (
    APPROVAL,
    NAMES,
    Seen,
    Steps,
    built,
    checked,
    rebuilt,
    relations,
    rows_of,
    work_of,
)

from ledger.command_handler import CommandHandler
from ledger.domain.events import ProjectionSwitched
from ledger.domain.ids import PhoneNumber, Position, Sender
from ledger.erasure import Erasures
from ledger.errors import (
    NotFound,
    PositionMissing,
    RebuildCancelled,
    RebuildRunning,
    StoreUnavailable,
)
from ledger.store.database import Connection
from projections import filling as filling_module
from projections import pages as pages_module
from projections import rebuild as rebuild_module
from projections import rebuilding
from projections.phone_numbers import PhoneNumbers
from projections.rebuild import alone, begin, cancel, drop_old
from projections.rebuilding import rebuild
from projections.registry import SHAPES
from projections.slices import slices
from projections.switching import go_back
from projections.worker import Means

SENDERS: Final = (Sender("+14155550199"), Sender("MG" + "c" * 32), Sender("*"))
WHY: Final = {"reason": "a test", "actor": "test"}
PHASES: Final = ("filling", "indexing", "catching up", "compared")

Say = Callable[..., Awaitable[None]]


def number(n: int) -> PhoneNumber:
    """One of a test's people."""
    return PhoneNumber(f"+1415888{n:04}")


@pytest.fixture
def say(handler: CommandHandler) -> Say:
    """Record what somebody says."""

    async def run(n: int, *statuses: str) -> None:
        for each, status in enumerate(statuses):
            sender = SENDERS[(n + each) % 3]
            await handler.handle(
                signal(phone_number=number(n), status=status, sender=sender)
            )

    return run


@pytest.fixture
async def people(say: Say, erasures: Erasures, catch_up: CatchUp) -> None:
    """Twelve people, of whom one said much and one was erased."""
    for n in range(12):
        await say(n, "in", *(["out", "in"] * (n % 3)))
    await say(0, *["out", "in"] * 6)
    await erasures.erase(number(3), **WHY)
    await catch_up()


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slices of two events each, about, and pages of four: so there are some."""
    monkeypatch.setattr(rebuild_module, "EVENTS_A_SLICE", 2)
    monkeypatch.setattr(pages_module, "EVENTS_A_PAGE", 4)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fill in this process."""

    async def fill(filling: filling_module.Filling, _: int, progress: Any) -> None:
        await filling_module.fill_slices(filling, 0, 1)
        await progress()

    monkeypatch.setattr(rebuilding, "fill", fill)


@pytest.mark.usefixtures("people", "here")
async def test_a_ledger_that_has_lost_an_event_is_not_built_from(
    dsn: str, means: Means, connection: Connection
) -> None:
    """The version that has applied it goes on answering."""
    await connection.execute("SET session_replication_role = replica")
    await connection.execute("DELETE FROM ledger_events WHERE notification_id = 7")
    with pytest.raises(PositionMissing, match="position 7 is missing"):
        await rebuild(NAMES, work_of(dsn, means, Seen()))
    pointers = (await rows_of(connection))["pointers"]
    assert {version for _, version in pointers} == {1}


@pytest.mark.usefixtures("people", "here")
async def test_all_projections_are_built_anew(
    dsn: str, means: Means, connection: Connection
) -> None:
    """Both versions are as the events say, the new ones answer, the ledger says so."""
    seen = Seen()
    done = await rebuild(NAMES, work_of(dsn, means, seen))
    assert [s.target.live[:2] for s in done] == [(name, 2) for name in NAMES]
    report = await checked(means)
    assert report.differences == {}
    assert report.rows["phone_numbers_v1"] == report.rows["phone_numbers_v2"] == 11
    rows = await rows_of(connection)
    assert rows["pointers"] == [(name, 2) for name in sorted(NAMES)]
    assert rows["rebuilds"] == rows["slices"] == []
    # Folded once, for all.
    [frontier] = {total for _, _, total in seen.filled}
    assert seen.filled[-1] == (NAMES, frontier, frontier)
    # Each in this order, whatever the other is at.
    for name in NAMES:
        phases = [phase for begun, phase in seen.begun if begun == name]
        assert phases == ["indexing", "catching up", "comparing"]
    [event] = [e for _, e in await means.store.read_at([done[0].position])]
    assert isinstance(event, ProjectionSwitched)
    assert (event.projection, event.from_version, event.to_version) == (NAMES[0], 1, 2)
    assert (event.accepted, event.changes, event.actor) == (False, [], "test")


@pytest.mark.usefixtures("people")
async def test_the_new_version_is_like_the_old_one(
    dsn: str, means: Means, connection: Connection
) -> None:
    """Whatever the old version has, by whatever name, the new one has."""
    before = await relations(connection)
    for name in NAMES:
        await rebuilt(dsn, means, name)
    new = [name for name in await relations(connection) if name not in before]
    assert [name.replace("_v2", "_v1") for name in new] == before


@pytest.mark.usefixtures("people")
async def test_each_process_fills_neighbouring_slices(
    dsn: str, means: Means, connection: Connection
) -> None:
    """All of a fixed slice's digests are one process's: nobody waits for a row."""
    async with Steps(dsn, means) as steps:
        count = steps.target.slices
        await filling_module.fill_slices(steps.filling, 1, 2)
        filled = await connection.fetch("SELECT slice FROM rebuilt_slices ORDER BY 1")
        assert [row[0] for row in filled] == list(range(count // 2, count))
        await filling_module.fill_slices(steps.filling, 0, 2)
        assert len((await rows_of(connection))["slices"]) == count


@pytest.mark.usefixtures("people")
async def test_each_phase_can_be_the_last_one_before_a_kill(
    dsn: str, means: Means, say: Say, connection: Connection
) -> None:
    """Whoever goes on does what is left, also when more was said in between."""
    async with Steps(dsn, means) as steps:
        spans = list(slices(steps.target.slices))
        assert len(spans) > 8
        filler = filling_module.Filler(means.pool, means.keyring, steps.filling)
        await filler.start()
        for n in range(0, len(spans), 3):
            await filler.fill(n, spans[n])
    await say(20, "in", "out")
    for phase, step in (
        ("filling", "fill"),
        ("filling", "index"),
        ("indexing", "follow"),
    ):
        async with Steps(dsn, means) as steps:
            assert steps.target.live.version == 2
            assert steps.target.phase == phase
            await getattr(steps, step)()
            await say(21, "in")
    async with Steps(dsn, means) as steps:
        assert steps.target.phase == "compared"
        await steps.switch()
    assert (await checked(means)).differences == {}
    assert (await rows_of(connection))["rebuilds"] == []


@pytest.mark.usefixtures("people", "here")
async def test_a_database_that_dies_while_indexes_are_made_is_gone_on_with(
    dsn: str, means: Means, connection: Connection
) -> None:
    """It says that the database is away; the same command does what is left."""
    dying = (
        "SELECT count(pg_terminate_backend(pid)) > 0 FROM pg_stat_activity "
        "WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    async with Steps(dsn, means) as steps:
        await steps.fill()
    async with connection.transaction():
        # Whoever makes an index waits for whoever writes.
        await connection.execute("LOCK TABLE phone_numbers_v2 IN ROW EXCLUSIVE MODE")
        going_on = rebuild(["phone_numbers"], work_of(dsn, means, Seen()))
        indexing = asyncio.create_task(going_on)
        # Not by that transaction, which sees what others wait for as it was at first.
        await eventually(lambda: means.pool.fetchval(dying))
        with pytest.raises(StoreUnavailable, match="run it again, and it goes on"):
            await indexing
    async with Steps(dsn, means) as steps:
        assert (steps.target.live.version, steps.target.phase) == (2, "indexing")
    seen = Seen()
    [done] = await rebuild(["phone_numbers"], work_of(dsn, means, seen))
    assert done.target.live.version == 2
    assert [phase for _, phase in seen.begun] == [
        "indexing",
        "catching up",
        "comparing",
    ]
    assert (await checked(means)).differences == {}


class Faults:
    """Has the so-manieth statement of this process fail, done or not."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, is_done: bool) -> None:
        self._is_done = is_done
        self.left = 0
        for name in ("execute", "fetch", "fetchval", "fetchrow"):
            does = getattr(asyncpg.Connection, name)
            monkeypatch.setattr(asyncpg.Connection, name, self._failing(does))
        copy = asyncpg.Connection.copy_records_to_table
        monkeypatch.setattr(
            asyncpg.Connection, "copy_records_to_table", self._failing(copy)
        )

    def _failing(self, does: Callable[..., Awaitable[Any]]) -> Any:
        async def statement(*arguments: Any, **more: Any) -> Any:
            self.left -= 1
            if self.left == 0 and not self._is_done:
                raise ConnectionError
            done = await does(*arguments, **more)
            if self.left == 0:
                raise ConnectionError
            return done

        return statement


@pytest.mark.usefixtures("people", "here")
@pytest.mark.parametrize("is_done", [False, True], ids=["before", "after"])
async def test_every_statement_may_fail(
    dsn: str,
    means: Means,
    connection: Connection,
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_done: bool,
) -> None:
    """Done or not, whoever goes on comes to the same end, and leaves nothing else."""
    faults = Faults(monkeypatch, is_done=is_done)
    failed = 0
    for failing in itertools.count(1):
        faults.left = failing
        try:
            await rebuild(["phone_numbers"], work_of(dsn, means, Seen()))
        except (StoreUnavailable, OSError):
            failed += 1
        if faults.left > 0 or (await rows_of(connection))["pointers"][2] != (
            "phone_numbers",
            1,
        ):
            break
    faults.left = 0
    assert failed > 20
    assert (await checked(means)).differences == {}
    rows = await rows_of(connection)
    assert rows["pointers"] == [
        ("consent_history", 1),
        ("messages", 1),
        ("phone_numbers", 2),
    ]
    assert rows["rebuilds"] == rows["slices"] == []


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize("done", range(4))
async def test_what_is_cancelled_leaves_nothing(
    dsn: str, means: Means, connection: Connection, done: int
) -> None:
    """After any phase; who builds it ends, and the next has another number."""
    before = await relations(connection), await rows_of(connection)
    async with Steps(dsn, means) as steps:
        todo: list[Callable[[], Awaitable[object]]] = [
            steps.fill,
            steps.index,
            steps.follow,
            steps.switch,
        ]
        for step in todo[:done]:
            await step()
        assert await cancel(connection, "phone_numbers") == 2
        assert (await relations(connection), await rows_of(connection)) == before
        with pytest.raises(RebuildCancelled):
            await todo[done]()
    assert (await relations(connection), await rows_of(connection)) == before
    with pytest.raises(NotFound):
        await cancel(connection, "phone_numbers")
    async with Steps(dsn, means) as steps:
        assert steps.target.live.version == 3


@pytest.mark.usefixtures("people")
async def test_what_is_cancelled_while_it_is_filled_ends_by_itself(
    dsn: str, means: Means, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither of the two waits for what the other holds."""
    before = await relations(connection)
    write = filling_module.write_page
    waiting = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"
    async with Steps(dsn, means) as steps, asyncio.TaskGroup() as group:
        cancelled: list[asyncio.Task[int]] = []

        async def write_cancelled(*page: Any) -> None:
            if not cancelled:
                work = cancel(connection, "phone_numbers")
                cancelled.append(group.create_task(work))
                await eventually(lambda: steps.connection.fetchval(waiting))
            await write(*page)

        monkeypatch.setattr(filling_module, "write_page", write_cancelled)
        with pytest.raises(RebuildCancelled):
            await steps.fill()
    assert cancelled[0].result() == 2
    assert await relations(connection) == before


@pytest.mark.usefixtures("people")
async def test_a_cancel_that_was_killed_is_done_by_whoever_comes(
    dsn: str, means: Means, connection: Connection
) -> None:
    """Marked and not yet dropped, it is not gone on with."""
    before = await relations(connection)
    async with built(dsn, means):
        pass
    await connection.execute("UPDATE rebuilds SET phase = 'cancelled'")
    await connection.execute("DELETE FROM projections WHERE version = 2")
    async with Steps(dsn, means) as steps:
        assert steps.target.live.version == 3
        assert not [name for name in await relations(connection) if "_v2" in name]
    await cancel(connection, "phone_numbers")
    assert await relations(connection) == before


@pytest.mark.usefixtures("people")
async def test_two_at_once_are_one(dsn: str, means: Means) -> None:
    """The second says so, and one of another projection goes on."""
    async with Steps(dsn, means):
        with pytest.raises(RebuildRunning, match="--cancel"):
            async with Steps(dsn, means):
                pass
        async with Steps(dsn, means, "consent_history"):
            pass


async def test_a_name_that_there_is_not(dsn: str, means: Means) -> None:
    """Nothing is begun."""
    with pytest.raises(NotFound, match="no projection 'nobody'"):
        async with Steps(dsn, means, "nobody"):
            pass


@pytest.mark.usefixtures("people")
async def test_going_back_and_on_and_dropping(
    dsn: str, means: Means, connection: Connection, say: Say
) -> None:
    """One command each; what is behind catches up first; no number comes twice."""
    name = "phone_numbers"
    with pytest.raises(NotFound, match="the only one"):
        await go_back(connection, name, means, APPROVAL, lambda *_: None)
    await rebuilt(dsn, means)
    await say(5, "out")
    back = await go_back(connection, name, means, APPROVAL, lambda *_: None)
    assert (back.target.serving.version, back.target.live.version) == (2, 1)
    stand = "SELECT count(DISTINCT position) FROM projections WHERE name = $1"
    assert await connection.fetchval(stand, name) == 1
    async with Steps(dsn, means) as steps:
        # Of three there are two to go back to, and none of them is the half-built one.
        forth = await go_back(connection, name, means, APPROVAL, lambda *_: None)
        assert forth.target.live.version == 2
        assert (await rows_of(connection))["rebuilds"] == [(name, 3, "filling")]
        assert await drop_old(connection, name) == [1]
        assert await drop_old(connection, name) == []
        await cancel(steps.connection, name)
    assert (await rebuilt(dsn, means)).target.live.version == 4
    assert await drop_old(connection, name) == [2]
    assert (await checked(means)).differences == {}


@pytest.mark.usefixtures("people")
async def test_who_reads_for_long_is_not_waited_for(
    dsn: str, means: Means, connection: Connection
) -> None:
    """A backup holds the old tables: the drop gives up, and nothing has changed."""
    await rebuilt(dsn, means)
    before = await relations(connection)
    async with connection.transaction():
        await connection.execute("LOCK TABLE phone_numbers_v1 IN ACCESS SHARE MODE")
        async with alone(dsn, "phone_numbers") as own:
            with pytest.raises(StoreUnavailable, match="lock timeout"):
                await drop_old(own, "phone_numbers")
    assert await relations(connection) == before
    assert len((await rows_of(connection))["projections"]) == 4


@pytest.mark.usefixtures("people")
async def test_another_release_s_version_is_left_alone(
    dsn: str, means: Means, connection: Connection
) -> None:
    """What has columns that this one does not know is neither built, nor dropped."""
    async with built(dsn, means):
        pass
    await connection.execute("UPDATE rebuilds SET shape = 9")
    await connection.execute("UPDATE projections SET shape = 9 WHERE version = 2")
    for work in (
        lambda: begin(connection, "phone_numbers", Position(1)),
        lambda: cancel(connection, "phone_numbers"),
    ):
        with pytest.raises(RebuildCancelled, match="use the release"):
            await work()
    await connection.execute("DELETE FROM rebuilds")
    await connection.execute(
        "UPDATE projection_pointers SET version = 2 WHERE name = 'phone_numbers'"
    )
    before = await relations(connection)
    with pytest.raises(RebuildCancelled, match="use the release"):
        await begin(connection, "phone_numbers", Position(1))
    assert await relations(connection) == before
    await connection.execute(
        "UPDATE projection_pointers SET version = 1 WHERE name = 'phone_numbers'"
    )
    with pytest.raises(RebuildCancelled, match="use the release"):
        await drop_old(connection, "phone_numbers")
    with pytest.raises(RebuildCancelled, match="use the release"):
        await go_back(connection, "phone_numbers", means, APPROVAL, lambda *_: None)


@pytest.mark.usefixtures("people")
async def test_what_an_older_release_has_begun_is_not_gone_on_with(
    dsn: str, means: Means, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who rebuilds wants the columns of their own release, and not a step back."""

    class Wider(PhoneNumbers):
        shape = 2

    async with built(dsn, means):
        pass
    monkeypatch.setitem(SHAPES, (Wider.name, Wider.shape), Wider)
    with pytest.raises(RebuildCancelled, match="an older release: --cancel it"):
        await begin(connection, "phone_numbers", Position(1))
    assert await cancel(connection, "phone_numbers") == 2
    async with Steps(dsn, means) as steps:
        assert steps.target.live == ("phone_numbers", 3, Wider.shape)
