"""The table of texts: what the events say, in whatever order, and of nobody erased."""

import itertools
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest
from builders import ACCOUNT_SID, MASTERS, NUMBER, SENDER, signal
from conftest import CatchUp
from message_steps import a_text, a_wish, status, taken
from rebuild_steps import checked, rebuilt

from ledger.command_handler import CommandHandler
from ledger.domain.ids import PhoneNumber, Position, Sender, Version
from ledger.erasure import Erasures
from ledger.message_log import MessageLog
from ledger.retention import Retention
from ledger.store.database import Connection
from ledger.store.keyring import Keyring
from ledger.store.postgres import PostgresEventStore
from ledger.subject_export import export_subject
from projections import pages
from projections.app import PROJECTIONS
from projections.check import Check
from projections.messages import Messages
from projections.worker import Means, Worker

if TYPE_CHECKING:
    from uuid import UUID

OTHER: Final = PhoneNumber("+14155550101")
WHY: Final = {"reason": "request by e-mail", "actor": "key:office"}
NEXT_YEAR: Final = datetime.now(UTC) + timedelta(days=365)
ROWS: Final = """
    SELECT phone_number, sid, direction, sender, address, status, error_code, position,
        version
    FROM messages_v1 ORDER BY position
"""

Case = tuple[str, str]
Rows = Callable[[], Awaitable[list[Any]]]


@pytest.fixture
def log(
    handler: CommandHandler, store: PostgresEventStore, keyring: Keyring
) -> MessageLog:
    """The log of texts."""
    return MessageLog(handler, store, keyring)


@pytest.fixture
def rows(connection: Connection, catch_up: CatchUp) -> Rows:
    """The table, once it is up to date."""

    async def read() -> list[Any]:
        await catch_up()
        return [tuple(row) for row in await connection.fetch(ROWS)]

    return read


async def everything(log: MessageLog) -> None:
    """Texts in and out, of two people."""
    await log.record(a_text("SM1"))
    await log.record(a_text("SM2", says="in"))
    await log.record(a_wish())
    await log.record(await status(log, "delivered"))
    await log.record(taken())
    await log.record(await status(log, "undelivered", error_code=30003))
    await log.record(a_text("SM3", phone_number=OTHER, sender=None, address=None))


async def test_each_text_is_a_row(log: MessageLog, rows: Rows) -> None:
    """Between whom, by which SID, and the furthest that became of it."""
    await everything(log)
    incoming = (NUMBER, "SM1", "incoming", SENDER, SENDER, "received", None, 1, 1)
    said = (NUMBER, "SM2", "incoming", SENDER, SENDER, "received", None, 3, 1)
    sent = (NUMBER, "SM9", "outgoing", SENDER, SENDER, "delivered", None, 4, 4)
    other = (OTHER, "SM3", "incoming", None, None, "received", None, 8, 1)
    assert await rows() == [incoming, said, sent, other]


async def test_a_text_that_arrives_and_no_more_is_read_from_its_bytes(
    log: MessageLog, erasures: Erasures, means: Means
) -> None:
    """Not of who was erased since; and decoded, all of it is what the ledger holds."""
    await everything(log)
    await erasures.erase(OTHER, **WHY)
    batch = await Worker(PROJECTIONS, means).read(Position(0), 100, PROJECTIONS)
    names = [f"{ACCOUNT_SID}:SM{n}" for n in (1, 2)]
    arrived = sorted([await log.message_id(name) for name in names])
    assert [text.message_id for text in batch.texts] == arrived
    whole = batch.decoded()
    assert whole.others == await means.store.read_after(Position(0), 100)
    assert list(batch.positions) == list(whole.positions) == [*range(1, 10)]
    [person] = {text.received[3] for text in batch.texts}
    assert set(batch.keys) == {person}
    # Its person was opened once, for the number and for both texts.
    assert {id(text.key) for text in batch.texts} == {id(batch.keys[person])}


async def test_the_table_is_the_same_however_it_was_made(
    log: MessageLog, means: Means, dsn: str, rows: Rows
) -> None:
    """Event by event, and built anew; and as the events say."""
    await everything(log)
    await rows()
    assert (await checked(means)).differences == {}
    await rebuilt(dsn, means, "messages")
    report = await checked(means)
    assert report.differences == {}
    assert report.rows["messages_v1"] == report.rows["messages_v2"] == 4


@pytest.mark.parametrize("name", ["phone_numbers", "consent_history", "messages"])
async def test_a_stream_that_is_longer_than_a_page_comes_whole(  # noqa: PLR0913, PLR0917 - fixtures
    log: MessageLog,
    means: Means,
    dsn: str,
    rows: Rows,
    erasures: Erasures,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    """A text's too, and one that begins with nothing but holds."""
    monkeypatch.setattr(pages, "EVENTS_A_PAGE", 2)
    await log.record(a_text("SM0"))
    for _ in range(3):
        await erasures.hold(NUMBER, until=NEXT_YEAR, **WHY)
    await everything(log)
    await rows()
    await rebuilt(dsn, means, name)
    report = await checked(means)
    assert report.differences == {}
    assert report.rows[f"{name}_v1"] == report.rows[f"{name}_v2"] > 0


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
async def test_any_order_of_arrival_gives_the_same_status(
    log: MessageLog, rows: Rows, order: tuple[int, ...]
) -> None:
    """Of a text that nobody here has sent."""
    told = [
        await status(log, "sent"),
        await status(log, "failed", error_code=30005),
        await status(log, "queued"),
    ]
    for place in order:
        await log.record(told[place])
    [row] = await rows()
    assert row[5:7] == ("failed", 30005)


async def test_who_is_erased_has_no_texts(  # noqa: PLR0913, PLR0917 - fixtures
    log: MessageLog,
    erasures: Erasures,
    connection: Connection,
    rows: Rows,
    means: Means,
    keyring: Keyring,
    store: PostgresEventStore,
) -> None:
    """At once; and what comes of them afterwards makes no row and opens nowhere."""
    await everything(log)
    await rows()
    await erasures.erase(NUMBER, **WHY)
    assert [row[0] for row in await connection.fetch(ROWS)] == [OTHER]
    await log.record(await status(log, "read"))
    await log.record(a_text("SM4"))
    assert [row[:2] for row in await rows()] == [(OTHER, "SM3"), (NUMBER, "SM4")]
    assert (await checked(means)).differences == {}
    events: Any = [e for _, e in await store.read_after(Position(0), 99) if e.personal]
    assert [o for o in await keyring.opened(events) if o.phone_number == NUMBER] == (
        await keyring.opened(events[-1:])
    )


@pytest.mark.parametrize("is_caught_up", [True, False])
async def test_who_only_sent_texts_can_be_erased_and_held(
    log: MessageLog,
    erasures: Erasures,
    rows: Rows,
    means: Means,
    *,
    is_caught_up: bool,
) -> None:
    """Whether the table knew of them or not; and a STOP after a hold is a number's."""
    await log.record(a_text("SM1"))
    if is_caught_up:
        await rows()
    await erasures.hold(NUMBER, until=NEXT_YEAR, **WHY)
    if is_caught_up:
        await rows()
    await log.record(a_text("SM2", says="out"))
    await rows()
    assert (await checked(means)).differences == {}
    assert (await checked(means)).rows["phone_numbers_v1"] == 1
    await erasures.release(NUMBER, **WHY)
    assert (await erasures.erase(NUMBER, **WHY)).status == "out"
    await log.record(a_text("SM3", phone_number=OTHER))
    assert (await erasures.erase(OTHER, **WHY)).status == "unknown"
    assert await rows() == []
    assert (await checked(means)).differences == {}


async def test_a_persons_own_data_has_their_texts(
    log: MessageLog, store: PostgresEventStore, keyring: Keyring
) -> None:
    """Whatever became of them, and nobody else's."""
    await everything(log)
    found = await export_subject(store, keyring, NUMBER, at=datetime.now(UTC))
    kinds = [event["kind"] for event in found["events"]]
    assert kinds == [
        "MessageReceived",
        "ConsentChanged",
        "MessageReceived",
        "MessageRequested",
        "MessageStatusChanged",
        "MessageSent",
        "MessageStatusChanged",
    ]
    assert found["events"][0]["evidence"] == {"Body": "Hello"}
    assert found["events"][0]["sid"] == "SM1"
    assert {event["subjectId"] for event in found["events"]} == {
        found["subjects"][0]["subjectId"]
    }
    other = await export_subject(store, keyring, OTHER, at=datetime.now(UTC))
    assert [event["sid"] for event in other["events"]] == ["SM3"]


async def test_a_hold_keeps_texts(
    log: MessageLog,
    erasures: Erasures,
    means: Means,
    connection: Connection,
) -> None:
    """Of somebody who has said nothing of consent, too; the days they are of."""
    await log.record(a_text("SM1"))
    await log.record(a_text("SM2", phone_number=OTHER))
    await erasures.hold(NUMBER, until=NEXT_YEAR, **WHY)
    [day] = [row[0] for row in await connection.fetch("SELECT name FROM evidence_keys")]
    retention = Retention(means.pool, means.store, means.keyring)
    held: dict[UUID, int] = {(await means.keyring.identity()).subject_id(NUMBER): 1}
    assert await retention._evidence_of_held(held) == {  # noqa: SLF001
        subject_id: {day} for subject_id in held
    }


@pytest.mark.parametrize(
    "case",
    [
        ("UPDATE messages_v1 SET status = 'read' WHERE sid = 'SM1'", "altered"),
        ("DELETE FROM messages_v1 WHERE sid = 'SM9'", "lost"),
        (
            """
            INSERT INTO messages_v1 SELECT gen_random_uuid(), subject_id, phone_number,
                sid, direction, sender, address, status, error_code, send_at, position,
                version, occurred_at, updated_at
            FROM messages_v1 WHERE sid = 'SM1'
            """,
            "extra",
        ),
        (
            """
            DELETE FROM subject_keys WHERE subject_id = (
                SELECT subject_id FROM messages_v1 WHERE sid = 'SM3')
            """,
            "lost",
        ),
    ],
)
async def test_a_fault_is_found(
    log: MessageLog, rows: Rows, connection: Connection, means: Means, case: Case
) -> None:
    """Of a row, or of the key of somebody who has only sent texts."""
    fault, kind = case
    await everything(log)
    await rows()
    await connection.execute(fault)
    check = Check(means.pool, MASTERS, [Messages()])
    report = await check.run(await check.begin())
    assert {found_kind for _, found_kind in report.differences} == {kind}


async def test_consent_of_one_who_texted_first_begins_at_version_one(
    log: MessageLog, store: PostgresEventStore, keyring: Keyring
) -> None:
    """Texts move no version that If-Match could name."""
    await log.record(a_text("SM1"))
    await log.record(signal(sender=Sender("MG1")))
    subject_id = (await keyring.identity()).subject_id(NUMBER)
    [stream] = (await store.read_streams({subject_id: Version(0)})).values()
    assert [event.version for _, event in stream.events] == [1]
