"""Erasing a person: what goes, what stays, and what nothing may slip past."""

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from builders import NUMBER, SENDER, signal
from conftest import CatchUp

from ledger.command_handler import CommandHandler
from ledger.domain.events import ConsentChanged, HoldPlaced, HoldReleased, SubjectErased
from ledger.domain.ids import EVERY_SENDER, Position, Sender
from ledger.erasure import Erasures
from ledger.errors import InvalidReason, KeyMissing, NotFound, OnHold, StoreUnavailable
from ledger.store.codec import RecordedEvent
from ledger.store.database import Connection, Pool
from ledger.store.keyring import Keyring, Opened
from ledger.store.postgres import PostgresEventStore
from projections.app import PROJECTIONS

WHY = {"reason": "request by e-mail", "actor": "key:office"}
NEXT_YEAR = datetime.now(UTC) + timedelta(days=365)


async def ledger_of(store: PostgresEventStore) -> list[RecordedEvent]:
    """Every event, in order."""
    return await store.read_after(Position(0), 1000)


async def opened(store: PostgresEventStore, keyring: Keyring) -> list[Opened]:
    """The personal data of every ConsentChanged, in order."""
    recorded = await ledger_of(store)
    events = [event for _, event in recorded if isinstance(event, ConsentChanged)]
    return await keyring.opened(events)


async def test_an_erasure_destroys_the_key_and_appends_the_event_that_says_so(
    handler: CommandHandler,
    erasures: Erasures,
    store: PostgresEventStore,
    keyring: Keyring,
) -> None:
    """The events stay, in order, and yield no number and no evidence."""
    await handler.handle(signal())
    [before] = await opened(store, keyring)
    done = await erasures.erase(NUMBER, **WHY)
    [(_, stop), (position, erased)] = await ledger_of(store)
    assert before.phone_number == NUMBER
    assert await opened(store, keyring) == [Opened(None, None)]
    assert (done.status, done.position, position) == ("out", 2, 2)
    assert isinstance(erased, SubjectErased)
    assert erased.subject_id == stop.subject_id
    assert (erased.status, erased.reason, erased.actor) == ("out", *WHY.values())


async def test_the_key_and_all_rows_go_in_one_transaction_with_the_event(
    handler: CommandHandler,
    erasures: Erasures,
    catch_up: CatchUp,
    connection: Connection,
) -> None:
    """Where the event cannot be appended, nothing is destroyed."""
    await handler.handle(signal())
    await catch_up()
    await connection.execute(
        "ALTER TABLE erased_subjects ADD CONSTRAINT in_the_way CHECK (false)"
    )
    with pytest.raises(asyncpg.CheckViolationError):
        await erasures.erase(NUMBER, **WHY)
    assert await counts(connection) == (1, 1, 1, 1, 1)
    await connection.execute("ALTER TABLE erased_subjects DROP CONSTRAINT in_the_way")
    await erasures.erase(NUMBER, **WHY)
    assert await counts(connection) == (0, 0, 0, 0, 2)


async def counts(connection: Connection) -> tuple[int, ...]:
    """Keys, rows of each projection's tables, and events."""
    tables = (
        "subject_keys",
        "phone_numbers_v1",
        "phone_number_senders_v1",
        "consent_history_v1",
        "ledger_events",
    )
    count = "SELECT count(*) FROM {}"
    return tuple([await connection.fetchval(count.format(name)) for name in tables])


async def test_every_projection_brings_what_erases_its_rows(
    connection: Connection,
) -> None:
    """The erasure calls each by its name and version."""
    for projection in PROJECTIONS:
        name = f"{projection.name}_v{projection.version}_erase"
        assert await connection.fetchval("SELECT to_regproc($1)", name) == name


async def test_a_second_erasure_answers_as_the_first(
    handler: CommandHandler, erasures: Erasures, store: PostgresEventStore
) -> None:
    """Safe to repeat after any failure."""
    await handler.handle(signal())
    first = await erasures.erase(NUMBER, **WHY)
    assert await erasures.erase(NUMBER, **WHY) == first
    assert len(await ledger_of(store)) == 2


async def test_a_number_never_seen_cannot_be_erased(erasures: Erasures) -> None:
    """There is nothing to erase, and nothing is recorded of the asking."""
    with pytest.raises(NotFound):
        await erasures.erase(NUMBER, **WHY)


async def test_a_number_that_was_in_leaves_unknown(
    handler: CommandHandler, erasures: Erasures
) -> None:
    """Only the duty not to text outlives the person."""
    await handler.handle(signal(status="in"))
    assert (await erasures.erase(NUMBER, **WHY)).status == "unknown"


async def test_a_later_text_begins_a_new_subject(
    handler: CommandHandler,
    erasures: Erasures,
    store: PostgresEventStore,
    keyring: Keyring,
) -> None:
    """With a key and a stream of its own, and knowing that the number was out."""
    await handler.handle(signal())
    await erasures.erase(NUMBER, **WHY)
    await handler.handle(signal(status="in"))
    await handler.handle(signal(status="out", sender=Sender("MG1")))
    events = [event for _, event in await ledger_of(store)]
    ids = [event.subject_id for event in events]
    assert ids[0] == ids[1]
    assert ids[2] == ids[3] != ids[0]
    assert [event.version for event in events] == [1, 2, 1, 2]
    assert [e.previous_status for e in events if isinstance(e, ConsentChanged)] == [
        "unknown",
        "out",
        "out",
    ]
    assert [who.phone_number for who in await opened(store, keyring)] == [
        None,
        NUMBER,
        NUMBER,
    ]


async def test_a_person_may_be_erased_again_and_again(
    handler: CommandHandler, erasures: Erasures, store: PostgresEventStore
) -> None:
    """Each time it is the newest subject, and the next text begins another."""
    for _ in range(3):
        await handler.handle(signal())
        await erasures.erase(NUMBER, **WHY)
    events = [event for _, event in await ledger_of(store)]
    assert len({event.subject_id for event in events}) == 3
    assert [event.version for event in events] == [1, 2, 1, 2, 1, 2]


async def test_a_handler_that_remembers_the_subject_finds_out(
    handler: CommandHandler,
    erasures: Erasures,
    store: PostgresEventStore,
    keyring: Keyring,
) -> None:
    """A key that was destroyed seals nothing more, though it is in memory still."""
    await handler.handle(signal())
    await handler.handle(signal())  # read, and so remembered
    await erasures.erase(NUMBER, **WHY)
    await handler.handle(signal())
    who = [personal.phone_number for personal in await opened(store, keyring)]
    assert who == [None, None, NUMBER]


async def test_signals_and_erasures_at_once_leave_no_event_with_a_lost_key(
    handler: CommandHandler,
    erasures: Erasures,
    store: PostgresEventStore,
    keyring: Keyring,
) -> None:
    """Whatever the order, an event is erased by the erasure after it, or opens."""
    await handler.handle(signal())

    async def erase() -> None:
        for _ in range(5):
            await erasures.erase(NUMBER, **WHY)

    async def text() -> None:
        for _ in range(20):
            await handler.handle(signal())

    await asyncio.gather(erase(), text(), text())
    recorded = await ledger_of(store)
    ended = {e.subject_id for _, e in recorded if isinstance(e, SubjectErased)}
    changes = [e for _, e in recorded if isinstance(e, ConsentChanged)]
    assert len(changes) == 41
    for event, personal in zip(changes, await keyring.opened(changes), strict=True):
        expected = None if event.subject_id in ended else NUMBER
        assert personal.phone_number == expected
    streams = await store.read_streams(dict.fromkeys(ended, 0))  # type: ignore[arg-type]
    for stream in streams.values():
        kinds = [type(event) is SubjectErased for _, event in stream.events]
        assert kinds == [False] * (len(kinds) - 1) + [True]


async def test_a_hold_refuses_erasure_until_it_is_released(
    handler: CommandHandler, erasures: Erasures, store: PostgresEventStore
) -> None:
    """Both are events of the subject."""
    await handler.handle(signal())
    await erasures.hold(NUMBER, until=NEXT_YEAR, **WHY)
    with pytest.raises(OnHold, match=NEXT_YEAR.date().isoformat()):
        await erasures.erase(NUMBER, **WHY)
    await erasures.release(NUMBER, **WHY)
    await erasures.erase(NUMBER, **WHY)
    kinds = [type(event) for _, event in await ledger_of(store)]
    assert kinds == [ConsentChanged, HoldPlaced, HoldReleased, SubjectErased]


async def test_a_hold_ends_by_itself(
    handler: CommandHandler,
    erasures: Erasures,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After its last day nobody has to release it."""
    await handler.handle(signal())
    await erasures.hold(NUMBER, until=NEXT_YEAR, **WHY)

    class Later(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override] # noqa: ARG003
            return NEXT_YEAR + timedelta(seconds=1)

    monkeypatch.setattr("ledger.erasure.datetime", Later)
    assert (await erasures.erase(NUMBER, **WHY)).status == "out"


async def test_a_text_does_not_end_a_hold(
    handler: CommandHandler, erasures: Erasures
) -> None:
    """What the person says meanwhile is held as well."""
    await handler.handle(signal())
    await erasures.hold(NUMBER, until=NEXT_YEAR, **WHY)
    await handler.handle(signal(status="in"))
    with pytest.raises(OnHold):
        await erasures.erase(NUMBER, **WHY)


async def test_what_cannot_be_held_or_released_is_said(
    handler: CommandHandler, erasures: Erasures
) -> None:
    """A number never seen, an end in the past, no hold, a number that was erased."""
    with pytest.raises(NotFound):
        await erasures.hold(NUMBER, until=NEXT_YEAR, **WHY)
    await handler.handle(signal())
    with pytest.raises(InvalidReason):
        await erasures.hold(NUMBER, until=datetime(2020, 1, 1, tzinfo=UTC), **WHY)
    with pytest.raises(NotFound):
        await erasures.release(NUMBER, **WHY)
    await erasures.erase(NUMBER, **WHY)
    with pytest.raises(NotFound):
        await erasures.hold(NUMBER, until=NEXT_YEAR, **WHY)


@pytest.mark.parametrize(
    "reason",
    [
        "",
        " ",
        "x" * 501,
        "two\nlines",
        f"asked by {NUMBER}",
        "asked by 415-555-0100",
        "asked by \uff14\uff11\uff15\uff15\uff15\uff15\uff10\uff11\uff10\uff10",
    ],
)
async def test_a_reason_is_short_and_does_not_tell_the_number(
    handler: CommandHandler, erasures: Erasures, reason: str
) -> None:
    """It stays in the ledger, in clear, for ever."""
    await handler.handle(signal())
    with pytest.raises(InvalidReason):
        await erasures.erase(NUMBER, reason=reason, actor="key:office")


async def test_a_case_number_is_no_telling_reason(
    handler: CommandHandler, erasures: Erasures
) -> None:
    """Digits that are not the number's are welcome."""
    await handler.handle(signal())
    done = await erasures.erase(NUMBER, reason="case 2026-00123456", actor="key:office")
    assert done.position == 2


async def test_an_erasure_while_the_database_is_read_only_changes_nothing(
    handler: CommandHandler, erasures: Erasures, pool: Pool, connection: Connection
) -> None:
    """It says so, and may be tried again."""
    await handler.handle(signal())
    database = await connection.fetchval("SELECT quote_ident(current_database())")
    read_only = f"ALTER DATABASE {database} SET default_transaction_read_only = on"
    await connection.execute(read_only)
    await pool.expire_connections()
    with pytest.raises(StoreUnavailable):
        await erasures.erase(NUMBER, **WHY)
    await connection.execute(f"ALTER DATABASE {database} RESET ALL")
    await pool.expire_connections()
    await erasures.erase(NUMBER, **WHY)


async def test_a_stop_to_everyone_stays_out_for_every_sender(
    handler: CommandHandler, erasures: Erasures, store: PostgresEventStore
) -> None:
    """The first word of the new subject to any sender was preceded by an out."""
    await handler.handle(signal(sender=EVERY_SENDER))
    await erasures.erase(NUMBER, **WHY)
    await handler.handle(signal(status="in", sender=SENDER))
    newest = (await ledger_of(store))[-1].event
    assert isinstance(newest, ConsentChanged)
    assert newest.previous_status == "out"


async def test_who_was_out_once_stays_out_however_often_erased(
    handler: CommandHandler, erasures: Erasures
) -> None:
    """A START in between is erased with its subject; the first duty stands."""
    await handler.handle(signal())
    await erasures.erase(NUMBER, **WHY)
    await handler.handle(signal(status="in"))
    assert (await erasures.erase(NUMBER, **WHY)).status == "out"
    assert (await erasures.erase(NUMBER, **WHY)).status == "out"


async def test_a_shorter_hold_does_not_shorten_a_longer_one(
    handler: CommandHandler, erasures: Erasures
) -> None:
    """Two claims on one number: the later end counts."""
    await handler.handle(signal())
    await erasures.hold(NUMBER, until=NEXT_YEAR, **WHY)
    await erasures.hold(NUMBER, until=NEXT_YEAR - timedelta(days=300), **WHY)
    with pytest.raises(OnHold, match=NEXT_YEAR.date().isoformat()):
        await erasures.erase(NUMBER, **WHY)


async def test_a_person_is_erased_as_often_as_they_return(
    handler: CommandHandler, erasures: Erasures
) -> None:
    """However many subjects they were before: none of those is a try that failed."""
    for times in range(1, 31):
        await handler.handle(signal())
        assert (await erasures.erase(NUMBER, **WHY)).position == 2 * times


async def test_a_key_that_nobody_erased_is_missed(
    handler: CommandHandler,
    erasures: Erasures,
    store: PostgresEventStore,
    keyring: Keyring,
    connection: Connection,
) -> None:
    """After half a restore nothing is called erased that was not."""
    await handler.handle(signal())
    await connection.execute("DELETE FROM subject_keys")
    with pytest.raises(KeyMissing):
        await erasures.erase(NUMBER, **WHY)
    with pytest.raises(KeyMissing):
        await opened(store, keyring)
