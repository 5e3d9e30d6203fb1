"""A stock ``eventsourcing`` application opens the ledger and reads what we say.

All but what is personal, which is sealed: for that it needs the keys, as we do.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit
from uuid import UUID, uuid4

import pytest
from builders import NUMBER, PATH, SENDER, bearer, consent_changed, signed, text_form
from conftest import Client
from eventsourcing.application import AggregateNotFoundError, Application
from eventsourcing.persistence import PersistenceError

from ledger.domain.consent import Subject, evolve, nobody, overall, status_for
from ledger.domain.events import ConsentChanged
from ledger.domain.ids import PhoneNumber, Position, Sealed, Sender, SubjectId
from ledger.store.codec import RecordedEvent
from ledger.store.database import Connection
from ledger.store.identity import Identity
from ledger.store.keyring import Keyring
from ledger.store.postgres import PostgresEventStore

OTHER_NUMBER: Final = PhoneNumber("+14155550101")
OTHER_SENDER: Final = Sender("MG" + "b" * 32)
PASSWORD: Final = "for-a-test"
COLUMNS: Final = (
    "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute "
    "WHERE attrelid = $1::text::regclass AND attnum > 0 ORDER BY attnum"
)
KEYS: Final = (
    "SELECT i.indisprimary, i.indkey::text FROM pg_index AS i "
    "WHERE i.indrelid = $1::text::regclass AND i.indisunique ORDER BY 1"
)


class Ledger(Application[UUID]):
    """Nothing of ours but the name, which names the table."""


class Other(Application[UUID]):
    """An application whose table the library makes."""


@contextmanager
def stock(
    dsn: str, *, kind: type[Application[UUID]] = Ledger, **more: str
) -> Iterator[Application[UUID]]:
    """The library's application on a database, by the environment alone."""
    parts = urlsplit(dsn)
    query = parse_qs(parts.query)
    environment = {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_DBNAME": parts.path[1:],
        "POSTGRES_HOST": parts.hostname or query["host"][0],
        "POSTGRES_PORT": str(parts.port or query.get("port", ["5432"])[0]),
        "POSTGRES_USER": unquote(parts.username or "postgres"),
        "POSTGRES_PASSWORD": unquote(parts.password or "none"),
        **more,
    }
    application = kind(env=environment)
    try:
        yield application
    finally:
        application.close()


def whole_ledger(application: Application[UUID]) -> list[RecordedEvent]:
    """Every event, through the library's notification log and mapper."""
    recorded = []
    section_id: str | None = "1,10"
    while section_id is not None:
        section = application.notification_log[section_id]
        for notification in section.items:
            event: Any = application.mapper.to_domain_event(notification)
            recorded.append(RecordedEvent(Position(notification.id), event))
        section_id = section.next_id
    return recorded


def subject_of(application: Application[UUID], subject_id: SubjectId) -> Subject:
    """A person, through the library's repository."""
    found: Any = application.repository.get(subject_id)
    assert isinstance(found, Subject)
    return found


def as_ours(event: ConsentChanged) -> ConsentChanged:
    """The library's event, its sealed fields named as what they are."""
    return replace(
        event,
        phone_number=Sealed(event.phone_number),
        evidence=Sealed(event.evidence),
    )


@pytest.fixture
async def identity(keyring: Keyring) -> Identity:
    """What makes the subject ids of this test's ledger."""
    return await keyring.identity()


@pytest.fixture
async def _history(client: Client, projector: None) -> None:  # noqa: ARG001
    """Two people say a few things, by text and through the API, now and long ago."""
    texts = [
        text_form("START"),
        text_form("Stop! 🛑\0"),
        text_form("please stop texting me", MessagingServiceSid=OTHER_SENDER),
        text_form("START", From=OTHER_NUMBER),
        text_form("UNSTOP", MediaUrl0="", From=f"whatsapp:{OTHER_NUMBER}"),
    ]
    for form in texts * 3:
        again = form | {"MessageSid": uuid4().hex}
        answer = await client.post(PATH, data=again, headers=signed(again))
        assert answer.status == 200
    past = datetime.now(UTC) - timedelta(days=400)
    consent = {
        "status": "in",
        "sender": "*",
        "occurredAt": past.isoformat(),
        "evidence": {"form": {"url": "https://example.com", "fields": [1, None]}},
    }
    put = await client.put(f"/PhoneNumbers/{NUMBER}", json=consent, headers=bearer())
    assert put.status == 200


@pytest.mark.usefixtures("_history")
async def test_the_library_reads_the_whole_ledger(
    dsn: str, store: PostgresEventStore
) -> None:
    """Event by event and position by position what our store reads."""
    ours = await store.read_after(Position(0), 1_000)
    assert len(ours) == 16
    with stock(dsn) as application:
        assert whole_ledger(application) == ours
        assert application.recorder.max_notification_id() == 16


@pytest.mark.usefixtures("_history")
async def test_the_library_reads_nothing_personal_without_keys(dsn: str) -> None:
    """Number and evidence are opaque; status, sender, source and times are not."""
    with stock(dsn) as application:
        events: Any = [event for _, event in whole_ledger(application)]
    for event in events:
        assert (type(event.phone_number), type(event.evidence)) == (str, str)
        shown = f"{event!r} {vars(event)}"
        for personal in (NUMBER[1:], OTHER_NUMBER[1:], "stop texting", "example.com"):
            assert personal not in shown
    assert {event.sender for event in events} == {SENDER, OTHER_SENDER, "*"}
    assert {event.source for event in events} == {"twilio.inbound", "api"}
    assert len({event.phone_number for event in events}) == 16


@pytest.mark.usefixtures("_history")
@pytest.mark.parametrize("number", [NUMBER, OTHER_NUMBER])
async def test_the_library_knows_a_person_as_our_api_does(
    dsn: str, client: Client, identity: Identity, number: PhoneNumber
) -> None:
    """Its repository folds the stream to the status and the senders that we answer."""
    path = f"/PhoneNumbers/{number}?minPosition=16"
    answer = await client.get(path, headers=bearer())
    record = await answer.json()
    with stock(dsn) as application:
        subject = subject_of(application, identity.subject_id(number))
    assert (subject.version, overall(subject.facts)) == (
        record["version"],
        record["status"],
    )
    assert {each["sender"]: each["status"] for each in record["senders"]} == {
        sender: status_for(subject.facts, sender) for sender in subject.facts
    }


@pytest.mark.usefixtures("_history")
async def test_the_library_reads_a_history_as_our_api_does(
    dsn: str, client: Client, identity: Identity, keyring: Keyring
) -> None:
    """Status and times of every event; its evidence, who has the keys."""
    path = f"/PhoneNumbers/{NUMBER}/history?minPosition=16"
    answer = await client.get(path, headers=bearer())
    said = (await answer.json())["events"]
    with stock(dsn) as application:
        stream: Any = list(application.events.get(identity.subject_id(NUMBER)))
    assert [event.version for event in stream] == list(range(1, 11))
    opened = await keyring.opened(list(map(as_ours, stream)))
    assert [
        (
            event.status,
            event.previous_status,
            event.sender,
            event.occurred_at,
            event.recorded_at,
            personal.evidence,
        )
        for event, personal in zip(stream, opened, strict=True)
    ] == [
        (
            each["status"],
            each["previousStatus"],
            each["sender"],
            datetime.fromisoformat(each["occurredAt"]),
            datetime.fromisoformat(each["recordedAt"]),
            each["evidence"],
        )
        for each in said
    ]


@pytest.mark.usefixtures("_history")
async def test_the_library_knows_a_person_as_of_any_version(
    dsn: str, identity: Identity
) -> None:
    """A fold of so many events, and nobody for whom there are none."""
    subject_id = identity.subject_id(NUMBER)
    with stock(dsn) as application:
        stream: Any = list(application.events.get(subject_id))
        subject = nobody(subject_id)
        for event in stream:
            subject = evolve(subject, event)
            found: Any = application.repository.get(subject_id, version=event.version)
            assert found == subject
        with pytest.raises(AggregateNotFoundError):
            application.repository.get(uuid4())


@pytest.fixture
async def auditor(connection: Connection) -> AsyncIterator[str]:
    """A role that may read the events and nothing else."""
    name = await connection.fetchval("SELECT current_database() || '_auditor'")
    await connection.execute(
        f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}';"
        f"GRANT SELECT ON ledger_events TO {name}"
    )
    yield str(name)
    await connection.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


@pytest.mark.usefixtures("_history")
async def test_an_auditor_needs_no_more_than_to_select(
    dsn: str, store: PostgresEventStore, identity: Identity, auditor: str
) -> None:
    """With CREATE_TABLE=no the library does not try to make what is there."""
    ours = await store.read_after(Position(0), 1_000)
    with stock(
        dsn, CREATE_TABLE="no", POSTGRES_USER=auditor, POSTGRES_PASSWORD=PASSWORD
    ) as application:
        assert whole_ledger(application) == ours
        subject = subject_of(application, identity.subject_id(NUMBER))
        assert status_for(subject.facts, SENDER) == "out"


async def test_the_library_cannot_write_to_the_ledger(
    dsn: str, store: PostgresEventStore
) -> None:
    """It would take positions of its own; our store alone gives them."""
    event = consent_changed(SubjectId(uuid4()))
    with stock(dsn) as application, pytest.raises(PersistenceError):
        application.events.put([event])
    assert await store.read_after(Position(0), 10) == []


async def test_our_table_is_the_one_that_the_library_would_make(
    dsn: str, connection: Connection
) -> None:
    """The same columns, types and keys."""
    with stock(dsn, kind=Other):
        pass
    for query in (COLUMNS, KEYS):
        ours = await connection.fetch(query, "ledger_events")
        theirs = await connection.fetch(query, "other_events")
        assert list(map(tuple, ours)) == list(map(tuple, theirs))


@pytest.mark.usefixtures("_history")
async def test_the_ledger_goes_on_after_the_library_has_opened_it(
    dsn: str, client: Client, store: PostgresEventStore
) -> None:
    """Opening it, with the library's default of making tables, changes nothing."""
    with stock(dsn) as application:
        assert len(whole_ledger(application)) == 16
    form = text_form("STOP")
    assert (await client.post(PATH, data=form, headers=signed(form))).status == 200
    assert await store.last_position() == 17
