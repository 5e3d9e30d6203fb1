"""Texts in the ledger: with what they say of consent or without, whole or not there."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final
from uuid import uuid4

import pytest
from api_steps import text
from builders import ACCOUNT_SID, MASTERS, NUMBER, SENDER, entry, signal
from conftest import Client, settings_for
from message_steps import a_text, a_wish, status, taken

from ledger.app import make_app
from ledger.command_handler import CommandHandler, Receipt
from ledger.domain.events import (
    ConsentChanged,
    LedgerEvent,
    MessageReceived,
    MessageRequested,
    MessageSent,
    MessageStatusChanged,
)
from ledger.domain.ids import PhoneNumber, Position, SubjectId, Version
from ledger.domain.messages import (
    block_signal,
    status_key,
)
from ledger.errors import NotAllowed
from ledger.message_log import MessageLog
from ledger.settings import Settings
from ledger.store.database import Pool, open_pool
from ledger.store.event_store import Appended, Conflict, Duplicate
from ledger.store.keyring import Keyring, Opened
from ledger.store.postgres import PostgresEventStore

OTHER: Final = PhoneNumber("+14155550101")


@pytest.fixture
def log(
    handler: CommandHandler, store: PostgresEventStore, keyring: Keyring
) -> MessageLog:
    """The log of texts."""
    return MessageLog(handler, store, keyring)


async def events_of(store: PostgresEventStore) -> list[LedgerEvent]:
    """The whole ledger."""
    return [event for _, event in await store.read_after(Position(0), 1_000)]


async def opened(store: PostgresEventStore, keyring: Keyring) -> list[Opened]:
    """What is personal in each event that may have something."""
    events: Any = [e for e in await events_of(store) if e.personal]
    return await keyring.opened(events)


# Received.


async def test_a_yes_that_undoes_no_stop_is_recorded_as_a_text_alone(
    log: MessageLog,
) -> None:
    """And its receipt says so, for whoever counts; a repeat is a repeat."""
    await log.record(a_text("SM1", says="out"))
    yes = a_text("SM2", says="in")
    assert yes.signal is not None
    yes = yes._replace(signal=yes.signal._replace(undoes_out=False))
    expected = Receipt(Position(3), is_new=True, is_silent=True)
    assert await log.record(yes) == expected
    assert await log.record(yes) == Receipt(Position(3), is_new=False)


async def test_a_stop_and_its_text_are_one_entry(
    log: MessageLog, store: PostgresEventStore, keyring: Keyring
) -> None:
    """At positions that follow each other, the evidence once, under one key."""
    assert await log.record(a_text(says="out")) == Receipt(Position(1), is_new=True)
    said, received = await events_of(store)
    assert isinstance(said, ConsentChanged)
    assert isinstance(received, MessageReceived)
    assert received.counterparty == received.subject_id == said.subject_id
    assert received.message_id != said.subject_id
    assert (received.consent_version, received.version) == (said.version, 1)
    assert received.recorded_at == said.recorded_at == received.occurred_at
    assert await opened(store, keyring) == [
        Opened(NUMBER, {"Body": "out"}),
        Opened(NUMBER, None, "SM1"),
    ]
    assert await log.record(a_text(says="out")) == Receipt(Position(1), is_new=False)


async def test_an_ordinary_text_is_recorded_and_changes_nothing(
    log: MessageLog, store: PostgresEventStore, keyring: Keyring
) -> None:
    """Its body is sealed; what somebody says later is the first of their stream."""
    await log.record(a_text("SM1"))
    await log.record(a_text("SM2"))
    await log.record(a_text("SM3", says="out"))
    first, second, said, _ = await events_of(store)
    assert isinstance(said, ConsentChanged)
    assert (said.version, said.previous_status) == (1, "unknown")
    assert first.subject_id == second.subject_id == said.subject_id
    assert await opened(store, keyring) == [
        Opened(NUMBER, {"Body": "Hello"}, "SM1"),
        Opened(NUMBER, {"Body": "Hello"}, "SM2"),
        Opened(NUMBER, {"Body": "out"}),
        Opened(NUMBER, None, "SM3"),
    ]


async def test_texts_of_one_batch_share_a_new_key(
    log: MessageLog, store: PostgresEventStore, keyring: Keyring
) -> None:
    """Whatever they say, in whatever order, repeats among them."""
    texts = [
        a_text("SM1"),
        a_text("SM2", says="out"),
        a_text("SM2", says="out"),
        a_text("SM1"),
        a_text("SM3", says="in"),
        a_text("SM4", phone_number=OTHER),
    ]
    results = await log.record_all(texts)
    # What was decided behind a repeat is decided again, behind the others.
    assert [r.position for r in results if isinstance(r, Receipt)] == [1, 2, 2, 1, 5, 4]
    assert all(each.phone_number for each in await opened(store, keyring))
    kinds = [type(event).__name__ for event in await events_of(store)]
    assert kinds.count("MessageReceived") == 4
    assert kinds.count("ConsentChanged") == 2


@pytest.mark.parametrize("records", ["true", "false"])
async def test_the_webhook_records_texts_where_that_is_wanted(
    dsn: str, aiohttp_client: Any, store: PostgresEventStore, records: str
) -> None:
    """And what is said of consent in any case."""
    settings = settings_for(dsn, LEDGER_RECORD_MESSAGES=records)
    client: Client = await aiohttp_client(await make_app(dsn, settings))
    await text(client, "Hello")
    await text(client, "STOP")
    kinds = [type(event).__name__ for event in await events_of(store)]
    if records == "true":
        assert kinds == ["MessageReceived", "ConsentChanged", "MessageReceived"]
    else:
        assert kinds == ["ConsentChanged"]


# Sent.


async def test_what_becomes_of_a_text_is_its_stream(
    log: MessageLog, store: PostgresEventStore
) -> None:
    """Asked for, taken, delivered, each once; in the log by its SID."""
    await log.record(signal(status="in"))
    assert (await log.record(a_wish())).is_new
    assert (await log.record(taken())).is_new
    for each in ("delivered", "sent", "delivered"):
        await log.record(await status(log, each))
    asked, sent, *told = (await events_of(store))[1:]
    assert isinstance(asked, MessageRequested)
    assert (asked.consent_status, asked.allowed_by) == ("in", 1)
    assert isinstance(sent, MessageSent)
    assert [e.status for e in told if isinstance(e, MessageStatusChanged)] == [
        "delivered",
        "sent",
    ]
    message_id = await log.find(ACCOUNT_SID, "SM9")
    assert message_id == asked.message_id
    message = await log.read(asked.message_id)
    assert (message.status, message.version) == ("delivered", 4)
    assert not (await log.record(a_wish())).is_new
    assert not (await log.record(taken())).is_new


@pytest.mark.parametrize("said", ["out", None])
async def test_a_text_that_no_consent_allows_is_not_asked_for(
    log: MessageLog, store: PostgresEventStore, said: str | None
) -> None:
    """Out, or never heard of; the refusal says what decided."""
    if said:
        await log.record(signal(status=said))
    before = await events_of(store)
    with pytest.raises(NotAllowed) as refused:
        await log.record(a_wish())
    assert refused.value.status == (said or "unknown")
    assert refused.value.version == (1 if said else None)
    assert await events_of(store) == before


async def test_who_was_never_heard_of_may_be_texted_where_that_is_wanted(
    log: MessageLog, store: PostgresEventStore, keyring: Keyring
) -> None:
    """The wish makes the key; a repeat is answered though a STOP has come since."""
    wish = a_wish(may_be_unknown=True)
    assert await log.record(wish) == Receipt(Position(1), is_new=True)
    await log.record(a_text(says="out"))
    assert await log.record(wish) == Receipt(Position(1), is_new=False)
    assert (await opened(store, keyring))[0] == Opened(NUMBER, {"body": "Your order"})


async def test_no_stop_fits_between_the_check_and_the_wish(
    pool: Pool, keyring: Keyring, settings: Settings
) -> None:
    """One that another process records there makes it a refusal."""
    stop = signal(status="out")

    class Meddled(PostgresEventStore):
        """Somebody else is faster."""

        async def append(self, entries: Sequence[Any]) -> list[Any]:
            """After a STOP by another process."""
            if any(entry.subject_version is not None for entry in entries):
                await other.handle(stop)
            return await super().append(entries)

    store = PostgresEventStore(pool)
    async with (
        CommandHandler(store, Keyring(pool, MASTERS), settings) as other,
        CommandHandler(Meddled(pool), keyring, settings) as handler,
    ):
        await other.handle(signal(status="in"))
        with pytest.raises(NotAllowed):
            await handler.handle(a_wish())
    kinds = [type(event).__name__ for event in await events_of(store)]
    assert kinds == ["ConsentChanged", "ConsentChanged"]


async def test_a_stop_and_a_wish_of_one_batch_are_in_their_order(
    log: MessageLog,
) -> None:
    """What comes before the STOP is sent, and what comes after it is refused."""
    await log.record(signal(status="in"))
    before, _, after = await log.record_all(
        [a_wish("send:1"), signal(status="out"), a_wish("send:2")]
    )
    assert before == Receipt(Position(2), is_new=True)
    assert isinstance(after, NotAllowed)


async def test_a_status_may_come_before_twilio_has_answered(log: MessageLog) -> None:
    """Both are kept, and the furthest is the text's."""
    await log.record(signal(status="in"))
    await log.record(a_wish())
    await log.record(await status(log, "delivered"))
    await log.record(taken())
    message = await log.read(await log.message_id("send:1"))
    assert (message.status, message.is_sent, message.version) == ("delivered", True, 3)


async def test_a_text_that_nobody_here_has_sent_begins_with_its_status(
    log: MessageLog, store: PostgresEventStore, keyring: Keyring
) -> None:
    """Two that come at once are two events of one stream."""
    both = [await status(log, each) for each in ("sent", "delivered")]
    await asyncio.gather(*map(log.record, both))
    first, second = await events_of(store)
    assert isinstance(first, MessageSent)
    assert isinstance(second, MessageStatusChanged)
    [begun, _] = await opened(store, keyring)
    assert (begun.phone_number, begun.sid) == (NUMBER, "SM9")


async def test_twilios_block_is_an_out_that_is_no_stop(
    log: MessageLog, store: PostgresEventStore, keyring: Keyring
) -> None:
    """In one transaction with the status, once."""
    await log.record(signal(status="in"))
    await log.record(a_wish())
    message_id = await log.message_id("send:1")
    block = block_signal(
        status_key(message_id, "failed"), NUMBER, SENDER, {"ErrorCode": "21610"}
    )
    failed = await status(log, "failed", error_code=21610, signal=block)
    assert [await log.record(failed) for _ in range(2)] == [
        Receipt(Position(3), is_new=True),
        Receipt(Position(3), is_new=False),
    ]
    said, told = (await events_of(store))[2:]
    assert isinstance(said, ConsentChanged)
    assert (said.status, said.source, said.matched_by) == (
        "out",
        "twilio.status",
        "error21610",
    )
    assert isinstance(told, MessageStatusChanged)
    assert (told.error_code, told.consent_version) == (21610, 2)
    evidence = (await opened(store, keyring))[2].evidence
    assert evidence is not None
    assert "no proof" in str(evidence["statement"])


# Half of an entry is never there.


def entry_with_text(sid: str, subject: SubjectId, **more: Any) -> Any:
    """A STOP and, behind it, an event on a stream of its own."""
    stop = entry(subject, key=sid, **more)
    [event] = stop.events
    return stop._replace(events=(event, event._replace(stream_id=uuid4())))


async def test_an_entry_is_there_as_a_whole_or_not_at_all(
    store: PostgresEventStore,
) -> None:
    """Where the second event does not fit, the first one is not there either."""
    one, other, third = (SubjectId(uuid4()) for _ in range(3))
    taken_ = entry_with_text("taken", one)
    assert [type(o) for o in await store.append([taken_])] == [Appended]
    # Its second event has a version that is taken; its neighbours are recorded.
    broken = entry_with_text("broken", other)
    broken = broken._replace(events=(broken.events[0], taken_.events[1]))
    good = entry_with_text("good", third)
    outcomes = await store.append([broken, good, taken_])
    assert outcomes[0] == Conflict()
    assert outcomes[2] == Duplicate(Position(1))
    assert isinstance(outcomes[1], Appended)
    assert outcomes[1].position == 3
    assert await store.last_position() == 4
    streams = await store.read_streams({other: Version(0), third: Version(0)})
    assert (streams[other].events, streams[other].key) == ([], None)
    assert len(streams[third].events) == 1


async def test_two_processes_record_the_same_text_once(
    dsn: str, store: PostgresEventStore, settings: Settings
) -> None:
    """Whichever comes first; of new people and of known ones."""
    pools = [await open_pool(dsn, settings, application="test") for _ in range(2)]
    async with pools[0], pools[1]:
        both = [
            CommandHandler(PostgresEventStore(p), Keyring(p, MASTERS), settings)
            for p in pools
        ]
        async with both[0], both[1]:
            texts = [
                a_text(f"SM{n % 20}", says=("out", None, "in")[n % 20 % 3])
                for n in range(60)
            ]
            receipts = await asyncio.gather(
                *(both[n % 2].handle(each) for n, each in enumerate(texts))
            )
    places = {(n % 20, r.position) for n, r in enumerate(receipts)}
    assert len(places) == 20
    assert [r.is_new for r in receipts].count(True) == 20
    events = await events_of(store)
    assert sum(isinstance(event, MessageReceived) for event in events) == 20
