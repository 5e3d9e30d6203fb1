"""What was applied is known, and what was lost, doubled or altered is named."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

import pytest
from builders import MASTER_KEY, MASTERS, signal
from conftest import CatchUp
from hypothesis import HealthCheck, given
from hypothesis import settings as example_settings
from hypothesis import strategies as st
from rebuild_steps import rebuilt
from typer.testing import CliRunner, Result

from ledger.__main__ import app
from ledger.command_handler import CommandHandler
from ledger.domain.ids import PhoneNumber, Position, Sender
from ledger.erasure import Erasures
from ledger.errors import (
    InvalidRequest,
    LedgerError,
    NotFound,
    RebuildUnsound,
    TryAgain,
)
from ledger.store.codec import StoredRow, decode
from ledger.store.database import Connection, Pool
from ledger.store.keyring import Keyring
from ledger.store.scan import digest_positions
from projections import projection as projection_module
from projections import proof as proof_module
from projections.app import PROJECTIONS
from projections.check import Check
from projections.comparison import Difference
from projections.consent_history import ConsentHistory
from projections.digests import STRETCH, Digest, digest_of, digests_of, first_position
from projections.filling import Filling, fill_slices
from projections.phone_numbers import PhoneNumbers
from projections.projection import Batch, Overtaken, Projection, advance
from projections.proof import have_applied_the_same
from projections.rebuild import Target, alone, begin, drop_old, follow, frontier_now
from projections.report import Report
from projections.slices import slice_of
from projections.worker import Means, Worker

SENDER: Final = Sender("MG" + "d" * 32)
DIGESTS: Final = "projection_digests"
EVENTS: Final = "ledger_events"
KEPT: Final = """
    SELECT slice, events, digest_high, digest_low FROM projection_digests
    WHERE name = $1 AND version = $2 AND first_position = 1
"""
EMPTY: Final = """
    TRUNCATE phone_numbers_v1, phone_number_senders_v1, consent_history_v1,
        messages_v1, projection_digests;
    UPDATE projections SET position = 0
"""
EVENT_COUNT: Final = 12

Verify = Callable[..., Awaitable[Report]]
Run = Callable[..., Result]


@pytest.fixture
async def spoken(handler: CommandHandler, erasures: Erasures) -> None:
    """Four people: eleven texts, and one erasure at the end."""
    numbers = [PhoneNumber(f"+1415666{n:04}") for n in range(4)]
    for n in range(EVENT_COUNT - 1):
        status = "in" if n % 3 else "out"
        said = signal(phone_number=numbers[n % 4], sender=SENDER, status=status)
        await handler.handle(said)
    await erasures.erase(numbers[3], reason="a test", actor="test")


@pytest.fixture
def verify(pool: Pool, spoken: None) -> Verify:
    """Compare the projections, or some, with the events, or a range of them."""
    assert spoken is None

    async def run(
        *projections: Projection, first: int = 1, last: int | None = None
    ) -> Report:
        check = Check(pool, MASTERS, projections or PROJECTIONS)
        return await check.run(await check.begin(first, last))

    return run


@pytest.fixture
async def rows(means: Means, spoken: None) -> list[StoredRow]:
    """The events as they are stored."""
    assert spoken is None
    found = await means.store.read_rows_after(Position(0), 100)
    return [StoredRow(*row) for row in found]


async def batch_of(means: Means, rows: list[StoredRow]) -> Batch:
    """Those events as a worker hands them on."""
    whole = await Worker(PROJECTIONS, means).read(Position(0), 100, PROJECTIONS)
    events = [decode(row) for row in rows]
    return replace(whole.decoded(), others=events, digests=digests_of(rows))


# What is kept.


async def kept(connection: Connection, projection: Projection) -> dict[int, Digest]:
    """The digests of the first stretch, by slice."""
    found = await connection.fetch(KEPT, projection.name, projection.version)
    return {row[0]: Digest(*row[1:]) for row in found}


async def due(connection: Connection, position: int) -> dict[int, Digest]:
    """The same, as PostgreSQL makes them from the events."""
    made = await digest_positions(connection, 1, position)
    return {number: Digest(*digest) for number, digest in made.items()}


async def test_python_and_postgresql_make_the_same_digests(
    connection: Connection, rows: list[StoredRow]
) -> None:
    """They share no code, and every field of an event is in them."""
    for row in rows:
        [(number, digest)] = (
            await digest_positions(connection, row.notification_id, row.notification_id)
        ).items()
        assert (number, digest) == (slice_of(row.originator_id), digest_of(row))
    row = rows[0]
    others = [
        row._replace(originator_id=rows[1].originator_id),
        row._replace(originator_version=2),
        row._replace(topic=row.topic + "x"),
        row._replace(state=row.state + b" "),
        row._replace(notification_id=2),
    ]
    assert len({digest_of(other) for other in [row, *others]}) == 6


def test_stretches_begin_after_whole_ones(rows: list[StoredRow]) -> None:
    """A batch that goes into the next stretch is digested in two."""
    assert [first_position(n) for n in (1, STRETCH, STRETCH + 1)] == [1, 1, STRETCH + 1]
    late = [rows[0]._replace(notification_id=n) for n in (STRETCH, STRETCH + 1)]
    assert digests_of(late).first_positions == f"{{1,{STRETCH + 1}}}"
    assert digests_of([]) == ("{}",) * 5


class Killed(Exception):
    """The process died."""


class Dying(PhoneNumbers):
    """Writes its rows and does not live to commit them."""

    async def apply(self, connection: Connection, batch: Batch) -> None:
        """As the projection does, and then the end."""
        await super().apply(connection, batch)
        raise Killed


Act = tuple[str, int]
act = st.tuples(
    st.sampled_from(("together", "apart", "two", "stale", "killed")), st.integers(1, 5)
)


@example_settings(
    max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(acts=st.lists(act, max_size=8))
async def test_kept_digests_are_those_of_the_events_however_they_were_applied(
    *, means: Means, connection: Connection, spoken: None, acts: list[Act]
) -> None:
    """In batches of any size, by one worker or two, with deaths and zombies between."""
    assert spoken is None
    await connection.execute(EMPTY)
    worker, position = Worker(PROJECTIONS, means), Position(0)
    before = await worker.read(position, 1, PROJECTIONS)
    for how, limit in acts:
        batch = await worker.read(position, limit, PROJECTIONS)
        if not batch.positions:
            break
        if how == "killed":
            with pytest.raises(Killed):
                await advance(connection, [ConsentHistory(), Dying()], batch)
        elif how == "stale" and position:
            with pytest.raises(Overtaken):
                await advance(connection, PROJECTIONS, before)
        else:
            position = await step(worker, batch, how)
            before = batch
        for projection in PROJECTIONS:
            assert await kept(connection, projection) == await due(connection, position)


async def step(worker: Worker, batch: Batch, how: str) -> Position:
    """Apply a batch in one transaction, in one each, or in two workers at once."""
    apart = [(projection,) for projection in PROJECTIONS]
    split = apart if how == "apart" else [PROJECTIONS]
    done = await asyncio.gather(
        *(worker._advance(batch, *split) for _ in range(1 + (how == "two"))),  # noqa: SLF001
        return_exceptions=True,
    )
    assert sum(isinstance(one, Overtaken) for one in done) == (how == "two")
    return batch.positions[-1]


# What is found.


@pytest.mark.parametrize("gone", [(7,), (3, 7)])
async def test_events_that_were_not_applied_are_named(
    verify: Verify,
    means: Means,
    connection: Connection,
    rows: list[StoredRow],
    gone: tuple[int, ...],
) -> None:
    """One or two of a slice, by projection, subject and position."""
    short = await batch_of(means, [row for row in rows if row[4] not in gone])
    await advance(connection, [PhoneNumbers()], short)
    await advance(connection, [ConsentHistory()], await batch_of(means, rows))
    found = await verify()
    assert [d for d in found.examples if d.kind == "lost" and d.table == DIGESTS] == [
        Difference(
            DIGESTS,
            "lost",
            rows[position - 1].originator_id,
            {"projection": "phone_numbers_v1", "position": position},
        )
        for position in gone
    ]
    assert found.differences["projections", "moved"] == 1


async def test_an_event_that_was_applied_twice_is_named(
    verify: Verify,
    connection: Connection,
    means: Means,
    rows: list[StoredRow],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where no row shows it; so it is compare-and-set that keeps digests right."""
    await Worker(PROJECTIONS, means).catch_up()
    assert (await verify()).differences == {}
    again = await batch_of(means, [rows[10]])
    unguarded = projection_module._ADVANCE.replace(  # noqa: SLF001
        "AND p.position = $3", "AND $3 >= 0"
    ).replace("SET position = $4", "SET position = greatest(p.position, $4)")
    monkeypatch.setattr(projection_module, "_ADVANCE", unguarded)
    await advance(connection, [PhoneNumbers()], again)
    found = await verify()
    where = {"projection": "phone_numbers_v1", "position": 11}
    twice = Difference(DIGESTS, "doubled", rows[10].originator_id, where)
    assert twice in found.examples
    assert set(found.differences) == {(DIGESTS, "doubled"), ("projections", "moved")}


async def test_a_checkpoint_that_was_moved_is_found_either_way(
    verify: Verify, connection: Connection, catch_up: CatchUp
) -> None:
    """By how many events were applied, before a worker goes on from there."""
    await catch_up()
    for position in (EVENT_COUNT - 5, EVENT_COUNT + 5):
        await connection.execute("UPDATE projections SET position = $1", position)
        moved = [d for d in (await verify()).examples if d.kind == "moved"]
        assert [(d.where["projection"], d.stored, d.expected) for d in moved] == [
            (name, {"position": position}, {"position": EVENT_COUNT})
            for name in ("consent_history_v1", "messages_v1", "phone_numbers_v1")
        ]


async def test_events_that_a_skipping_worker_left_out_are_lost(
    verify: Verify, connection: Connection, means: Means, rows: list[StoredRow]
) -> None:
    """Somebody moves the checkpoint, and the worker goes on from there."""
    await connection.execute("UPDATE projections SET position = 2")
    await Worker(PROJECTIONS, means).catch_up()
    found = await verify()
    named = {d.subject_id for d in found.examples if d.kind == "lost"}
    assert {rows[0].originator_id, rows[1].originator_id} <= named


# One bit, and not a letter put in its place, which may have been there before.
_FLIPPED: Final = "set_byte(state, {at}, get_byte(state, {at}) # 1)"
ALTERED: Final = (
    ("state", _FLIPPED.format(at="length(state) - 20")),
    ("state", "state || ' '::bytea"),
    ("topic", "topic || 'x'"),
)


@pytest.mark.parametrize(("column", "change"), ALTERED)
@pytest.mark.parametrize("position", [1, 4])
async def test_any_changed_byte_of_an_event_is_found(  # noqa: PLR0913
    *,
    verify: Verify,
    connection: Connection,
    catch_up: CatchUp,
    rows: list[StoredRow],
    column: str,
    change: str,
    position: int,
) -> None:
    """Of the living and, at position 4, of the erased, whose seals nobody can open."""
    await catch_up()
    await connection.execute("SET session_replication_role = replica")
    await connection.execute(
        f"UPDATE ledger_events SET {column} = {change} WHERE notification_id = $1",  # noqa: S608
        position,
    )
    found = await verify()
    [altered] = [d for d in found.examples if (d.table, d.kind) == (EVENTS, "altered")]
    subject_id = rows[position - 1].originator_id
    assert altered.where == {
        "slice": slice_of(subject_id),
        "positions": f"1 to {EVENT_COUNT}",
    }
    named = [d for d in found.examples if d.kind == "unreadable"]
    if "set_byte" in change and position == 1:
        assert {(d.subject_id, d.where["position"]) for d in named} == {(subject_id, 1)}
    # Seen in the digest alone, it is not told twice.
    assert not any(table == DIGESTS for table, _ in found.differences)


async def test_one_projection_cannot_tell_who_is_wrong(
    verify: Verify, connection: Connection, catch_up: CatchUp
) -> None:
    """It takes two that agree to say that an event has changed."""
    await catch_up()
    await connection.execute("SET session_replication_role = replica")
    await connection.execute("UPDATE ledger_events SET state = state || ' '::bytea")
    found = await verify(ConsentHistory())
    assert {kind for kind in found.differences if kind[0] == DIGESTS} == {
        (DIGESTS, "unequal")
    }


async def test_no_more_cells_are_read_than_are_shown(
    verify: Verify,
    connection: Connection,
    catch_up: CatchUp,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where everything is wrong it is told, and not looked for one by one."""
    await catch_up()
    await connection.execute("TRUNCATE projection_digests")
    monkeypatch.setattr(proof_module, "CELLS_MAX", 0)
    found = (await verify()).differences
    assert (DIGESTS, "lost") not in found
    assert found[DIGESTS, "unequal"] >= 2


async def test_a_range_is_its_stretches_and_who_is_in_it(
    verify: Verify,
    connection: Connection,
    catch_up: CatchUp,
    rows: list[StoredRow],
) -> None:
    """A row of somebody else is not looked at; a gap in the range is found."""
    await catch_up()
    await connection.execute("SET session_replication_role = replica")
    await connection.execute("UPDATE consent_history_v1 SET actor = 'x'")
    found = await verify(first=2, last=3)
    assert (found.part, found.events, found.subjects) == ((2, 3), 2, 2)
    assert {d.subject_id for d in found.examples} == {
        rows[1].originator_id,
        rows[2].originator_id,
    }
    await connection.execute("DELETE FROM ledger_events WHERE notification_id = 2")
    missing = [d for d in (await verify(first=2, last=3)).examples if not d.subject_id]
    assert Difference(EVENTS, "missing", None, {"position": 2}) in missing


async def test_a_version_that_has_no_event_yet_is_sound(verify: Verify) -> None:
    """Nothing was applied, and nothing should have been."""
    assert (await verify()).differences == {}


# A version that is built anew.


@pytest.fixture
async def built(dsn: str, means: Means, catch_up: CatchUp, spoken: None) -> Target:
    """The next version of a projection, filled up to the frontier."""
    assert spoken is None
    await catch_up()
    async with alone(dsn, "consent_history") as connection:
        frontier = await frontier_now(connection)
        target = await begin(connection, "consent_history", frontier)
        filling = Filling(dsn, means.settings, (target.live,), target.frontier, 64)
        await fill_slices(filling, 0, 1)
        await follow(connection, target, means)
    return target


async def test_a_version_built_anew_has_applied_the_same(
    connection: Connection, keyring: Keyring, built: Target, verify: Verify
) -> None:
    """Slice by slice instead of batch by batch; and the check knows both versions."""
    versions = (built.live.name, built.serving.version, built.live.version)
    assert await kept(connection, built.projection) == await due(
        connection, EVENT_COUNT
    )
    assert await have_applied_the_same(connection, keyring, *versions)
    assert (await verify(ConsentHistory(), built.projection)).differences == {}


@pytest.mark.parametrize("wrong", [1, 2])
async def test_a_version_that_has_not_is_not_switched_to(
    connection: Connection, keyring: Keyring, built: Target, wrong: int
) -> None:
    """Whichever of the two it is: the old one may be wrong, and is said to be."""
    versions = (built.live.name, built.serving.version, built.live.version)
    await connection.execute(
        "DELETE FROM projection_digests WHERE name = $1 AND version = $2",
        built.live.name,
        wrong,
    )
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        if wrong == built.serving.version:
            assert not await have_applied_the_same(connection, keyring, *versions)
        else:
            with pytest.raises(RebuildUnsound, match="consent_history_v2"):
                await have_applied_the_same(connection, keyring, *versions)


# The command.


@pytest.fixture
def run(dsn: str, spoken: None) -> Run:
    """Run ``verify`` on the ledger in which they have spoken."""
    assert spoken is None
    environment = {"DATABASE_URL": dsn, "LEDGER_MASTER_KEY": MASTER_KEY}

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(app, [*arguments], env=environment)

    return invoke


async def test_the_command_says_what_it_found(
    run: Run, connection: Connection, catch_up: CatchUp
) -> None:
    """0 and 1, in words and as JSON; the audit's name for it does the same."""
    await catch_up()
    sound = await asyncio.to_thread(run, "verify")
    assert sound.exit_code == 0
    assert "positions 1 to 12" in sound.stdout
    assert "differences  0" in sound.stdout
    await connection.execute("UPDATE projection_digests SET events = events + 1")
    done = await asyncio.to_thread(
        run, "verify", "phone_numbers", "--from", "2", "--to", "900", "--json"
    )
    report = json.loads(done.stdout)
    assert (done.exit_code, report["from"], report["to"]) == (1, 2, 12)
    assert list(report["digests"]) == ["phone_numbers_v1"]
    kinds = {(kind["table"], kind["kind"]) for kind in report["kinds"]}
    assert kinds == {(DIGESTS, "unequal"), ("projections", "moved")}
    whole = await asyncio.to_thread(run, "replay", "--all", "--check")
    assert whole.exit_code == 1


async def test_what_a_newer_release_has_built_is_said_to_be_left_out(
    run: Run, connection: Connection, catch_up: CatchUp
) -> None:
    """No difference was found in it, which is not to say that there is none."""
    await catch_up()
    await connection.execute(
        "UPDATE projections SET shape = 9 WHERE name = 'phone_numbers'"
    )
    done = await asyncio.to_thread(run, "verify")
    assert (done.exit_code, "differences  0" in done.stdout) == (1, True)
    assert "left out     phone_numbers_v1" in done.stdout
    done = await asyncio.to_thread(run, "verify", "--json", "phone_numbers")
    report = json.loads(done.stdout)
    assert (done.exit_code, report["leftOut"]) == (1, ["phone_numbers_v1"])
    assert (await asyncio.to_thread(run, "verify", "consent_history")).exit_code == 0


@pytest.mark.parametrize("before", ["digests", "rows", "_read"])
async def test_a_version_that_is_dropped_meanwhile_is_no_difference(
    run: Run,
    dsn: str,
    means: Means,
    monkeypatch: pytest.MonkeyPatch,
    before: str,
) -> None:
    """Nor a fault: it is left out, or the same command again does without it."""
    await rebuilt(dsn, means, "consent_history")
    goes_on = getattr(Check, before)

    async def dropped(*arguments: object) -> object:
        async with alone(dsn, "consent_history") as connection:
            await drop_old(connection, "consent_history")
        return await goes_on(*arguments)

    monkeypatch.setattr(Check, before, dropped)
    done = await asyncio.to_thread(run, "verify")
    if before == "_read":
        assert isinstance(done.exception, TryAgain)
        done = await asyncio.to_thread(run, "verify")
    assert "differences  0" in done.stdout, done
    assert "in consent_history_v1" not in done.stdout
    assert "in consent_history_v2" in done.stdout


async def test_a_table_that_cannot_be_read_is_named(
    run: Run, connection: Connection, catch_up: CatchUp
) -> None:
    """And all else is compared: what its version has applied, and other rows."""
    await catch_up()
    await connection.execute("DROP TABLE phone_number_senders_v1")
    await connection.execute("ALTER TABLE consent_history_v1 DROP COLUMN actor")
    done = await asyncio.to_thread(run, "verify", "--json")
    report = json.loads(done.stdout)
    assert done.exit_code == 1
    assert [(e["table"], e["kind"], e["where"]) for e in report["examples"]] == [
        ("consent_history_v1", "unreadable", {"error": "UndefinedColumnError"}),
        ("phone_number_senders_v1", "unreadable", {"error": "UndefinedTableError"}),
    ]
    assert list(report["rows"]) == ["messages_v1"]
    assert len(report["digests"]) == 3


async def test_a_checkpoint_that_is_lost_is_found(
    run: Run, connection: Connection, catch_up: CatchUp
) -> None:
    """Of a version that answers: nothing else says that there was one."""
    await catch_up()
    await connection.execute("SET session_replication_role = replica")
    await connection.execute("DELETE FROM projections WHERE name = 'phone_numbers'")
    done = await asyncio.to_thread(run, "verify")
    assert done.exit_code == 1
    assert "projections: lost: projection phone_numbers_v1" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("nobody",), NotFound),
        (("--from", "13"), InvalidRequest),
        (("--from", "5", "--to", "4"), InvalidRequest),
    ],
)
def test_what_cannot_be_verified_is_refused(
    run: Run, arguments: tuple[str, ...], error: type[LedgerError]
) -> None:
    """A projection or positions that are not there."""
    assert isinstance(run("verify", *arguments).exception, error)
