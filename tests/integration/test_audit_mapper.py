"""The stock library opens the ledger with our mapper: sealed, or open, or destroyed."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit
from uuid import UUID

import pytest
from builders import MASTER_KEY, NUMBER, signal
from eventsourcing.application import Application

from ledger.command_handler import CommandHandler
from ledger.domain.consent import Subject, overall
from ledger.domain.events import (
    ConsentChanged,
    EvidenceErased,
    HoldPlaced,
    SubjectErased,
)
from ledger.domain.ids import PhoneNumber, Sealed
from ledger.erasure import Erasures
from ledger.errors import ConfigurationError, MasterKeyMissing, RequestRefused
from ledger.retention import Retention
from ledger.store.database import Connection, Pool
from ledger.store.keyring import Keyring
from ledger.store.master import new_master_key
from ledger.store.postgres import PostgresEventStore

OTHER: Final = PhoneNumber("+14155550101")
NEXT_YEAR: Final = datetime.now(UTC) + timedelta(days=365)
STOP: Final = {"Body": "STOP"}
WHY: Final = {"reason": "request by e-mail", "actor": "key:office"}


class Ledger(Application[UUID]):
    """Nothing of ours but the name, which names the table."""

    log_section_size = 100


Stock = Callable[..., AbstractContextManager[Ledger]]


@pytest.fixture
def stock(monkeypatch: pytest.MonkeyPatch, dsn: str) -> Stock:
    """Opens the library's application, by the environment alone."""
    parts = urlsplit(dsn)
    query = parse_qs(parts.query)
    environment = {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "MAPPER_TOPIC": "ledger.audit:LedgerMapper",
        "CREATE_TABLE": "no",
        "POSTGRES_DBNAME": parts.path[1:],
        "POSTGRES_HOST": parts.hostname or query["host"][0],
        "POSTGRES_PORT": str(parts.port or query.get("port", ["5432"])[0]),
        "POSTGRES_USER": unquote(parts.username or "postgres"),
        "POSTGRES_PASSWORD": unquote(parts.password or "none"),
    }

    @contextmanager
    def opened(**more: str) -> Iterator[Ledger]:
        for name, value in (environment | more).items():
            monkeypatch.setenv(name, value)
        application = Ledger()
        try:
            yield application
        finally:
            application.close()

    return opened


def read(ledger: Ledger) -> list[Any]:
    """Every event, in order."""
    notifications = ledger.notification_log.select(start=1, limit=100)
    return [ledger.mapper.to_domain_event(each) for each in notifications]


@pytest.fixture
def retention(pool: Pool, store: PostgresEventStore, keyring: Keyring) -> Retention:
    """What erases old evidence."""
    return Retention(pool, store, keyring)


async def test_without_a_key_all_but_what_is_personal_is_read(
    handler: CommandHandler, stock: Stock
) -> None:
    """Order, status, sender and times; the rest is told apart by its type."""
    await handler.handle(signal())
    with stock() as ledger:
        [event] = read(ledger)
        found: Any = ledger.repository.get(event.originator_id)
    assert type(event) is ConsentChanged
    assert (event.status, event.version) == ("out", 1)
    assert {type(event.phone_number), type(event.evidence)} == {Sealed}
    assert isinstance(found, Subject)
    assert overall(found.facts) == "out"


async def test_with_the_key_all_is_read(handler: CommandHandler, stock: Stock) -> None:
    """From the keys in the same database, opened by the master key."""
    await handler.handle(signal())
    await handler.handle(signal(phone_number=OTHER))
    with stock(LEDGER_MASTER_KEY=MASTER_KEY) as ledger:
        events = read(ledger)
        history: Any = list(ledger.events.get(events[1].originator_id))
    assert [(e.phone_number, e.evidence) for e in events] == [
        (NUMBER, STOP),
        (OTHER, STOP),
    ]
    assert [type(e.phone_number) for e in events] == [str, str]
    assert history == events[1:]


async def test_what_was_destroyed_stays_sealed(
    handler: CommandHandler,
    erasures: Erasures,
    connection: Connection,
    stock: Stock,
) -> None:
    """A person who was erased, and a day whose evidence is gone."""
    for number in (NUMBER, OTHER):
        await handler.handle(signal(phone_number=number))
    await erasures.erase(NUMBER, **WHY)
    await connection.execute("DELETE FROM evidence_keys")
    with stock(LEDGER_MASTER_KEY=MASTER_KEY) as ledger:
        erased, other, end = read(ledger)
    assert {type(erased.phone_number), type(erased.evidence)} == {Sealed}
    assert other.phone_number == OTHER
    assert type(other.evidence) is Sealed
    assert type(end) is SubjectErased


async def test_what_a_hold_has_kept_is_read(
    handler: CommandHandler,
    keyring: Keyring,
    connection: Connection,
    stock: Stock,
) -> None:
    """Though the day's own secret is gone."""
    await handler.handle(signal())
    day = await keyring.today()
    subject_id = (await keyring.identity()).subject_id(NUMBER)
    [kept] = await keyring.to_keep({subject_id: [day.name]})
    insert = "INSERT INTO kept_evidence_keys VALUES ($1, $2, $3, $4)"
    await connection.execute(insert, *kept[:2], *kept.wrapped)
    await connection.execute("DELETE FROM evidence_keys")
    with stock(LEDGER_MASTER_KEY=MASTER_KEY) as ledger:
        assert [event.evidence for event in read(ledger)] == [STOP]


async def test_a_wrong_master_key_is_refused(
    handler: CommandHandler, stock: Stock
) -> None:
    """It is not mistaken for data that was destroyed."""
    await handler.handle(signal())
    with (
        stock(LEDGER_MASTER_KEY=new_master_key()) as ledger,
        pytest.raises(MasterKeyMissing),
    ):
        read(ledger)


async def test_a_key_without_its_database_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The keys are in the database that the environment of the process names."""
    monkeypatch.setenv("LEDGER_MASTER_KEY", MASTER_KEY)
    with pytest.raises(ConfigurationError, match="POSTGRES_DBNAME"):
        Ledger(env={"MAPPER_TOPIC": "ledger.audit:LedgerMapper"})


async def test_every_kind_of_event_is_read(
    handler: CommandHandler,
    erasures: Erasures,
    connection: Connection,
    retention: Retention,
    stock: Stock,
) -> None:
    """A hold and an erasure of evidence, too, by their topics."""
    await handler.handle(signal())
    await erasures.hold(NUMBER, until=NEXT_YEAR, **WHY)
    await connection.execute("UPDATE evidence_keys SET name = '2020-01-01'")
    await retention.run(30, actor="cli:cron")
    with stock() as ledger:
        events = read(ledger)
    assert [type(e) for e in events] == [ConsentChanged, HoldPlaced, EvidenceErased]


async def test_an_auditor_does_not_write(handler: CommandHandler, stock: Stock) -> None:
    """What would be written of an opened event is a phone number in clear."""
    await handler.handle(signal())
    with stock(LEDGER_MASTER_KEY=MASTER_KEY) as ledger:
        [event] = read(ledger)
        with pytest.raises(RequestRefused):
            ledger.mapper.to_stored_event(event)
