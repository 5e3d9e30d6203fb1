"""The bench's large ledgers are what the event store would have written.

One is filled for all of these tests, in chunks that end where they like.
"""

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
import psycopg
import pytest
from builders import MASTER_KEY
from builders import signal as text
from conftest import CatchUp, at_database
from e2e.audit import fold, read_tables

from bench.copying import NotEmpty, copy_story
from bench.library import Ledger
from bench.story import LONGEST, Moment, Shape, moments, signal
from bench.texts import number
from ledger.domain.consent import NO_FACTS, Subject, decide
from ledger.domain.events import ConsentChanged
from ledger.domain.ids import PhoneNumber, Position, Version
from ledger.domain.signals import Signal
from ledger.store.codec import STATE_HEAD, STATE_MIDDLE, RecordedEvent, Sealing, encode
from ledger.store.database import Connection
from ledger.store.event_store import Appended
from ledger.store.keyring import Keyring
from ledger.store.postgres import PostgresEventStore, append_with

SHAPE: Final = Shape(events=2_000, numbers=400, chunk=300)
NAME: Final = f"ledger_test_bench_{os.getpid()}"
SETTINGS: Final = {"LEDGER_MASTER_KEY": MASTER_KEY}

TIMES_AS_THE_DATABASE_WRITES_THEM: Final = """
    SELECT count(*) FROM ledger_events AS e
    JOIN unnest($1::bigint[], $2::timestamptz[], $3::timestamptz[])
        AS told (position, recorded_at, occurred_at)
        ON told.position = e.notification_id
    WHERE starts_with(
        convert_from(e.state, 'UTF8'),
        convert_from($4::bytea || rfc3339_v1(told.recorded_at)
            || $5::bytea || rfc3339_v1(told.occurred_at) || '"},"status"', 'UTF8'))
"""
SCHEMA: Final = """
    SELECT conname AS name, pg_get_constraintdef(oid) AS made FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace
    UNION ALL SELECT relname, pg_get_indexdef(oid) FROM pg_class
    WHERE relkind = 'i' AND relnamespace = 'public'::regnamespace
    UNION ALL SELECT tgname, pg_get_triggerdef(oid) || tgenabled::text FROM pg_trigger
    WHERE NOT tgisinternal
    ORDER BY name, made
"""


@dataclass(frozen=True)
class Filled:
    """A ledger with a story in it, and the schema that it had before."""

    dsn: str
    schema: list[asyncpg.Record]


@pytest.fixture(scope="module")
def filled(server_url: str, template: str) -> Iterator[Filled]:
    """Filled once; no test leaves anything in it."""
    asyncio.run(_fetch(server_url, f"CREATE DATABASE {NAME} TEMPLATE {template}"))
    dsn = at_database(server_url, NAME)
    schema = asyncio.run(_fetch(dsn, SCHEMA))
    copied: list[int] = []
    copy_story(dsn, SETTINGS, SHAPE, copied.append)
    assert copied == [300, 300, 300, 300, 300, 300, 200]
    yield Filled(dsn, schema)
    asyncio.run(_fetch(server_url, f"DROP DATABASE {NAME} WITH (FORCE)"))


@pytest.fixture
def dsn(filled: Filled) -> str:
    """In the place of every test's own database."""
    return filled.dsn


@pytest.fixture
def told() -> list[tuple[Moment, Signal]]:
    """What the story is, by its seed alone."""
    seen: set[int] = set()
    found = []
    for moment in moments(SHAPE):
        found.append((moment, signal(moment, is_first=moment.ordinal not in seen)))
        seen.add(moment.ordinal)
    return found


async def test_every_event_is_the_story_s_and_opens(
    told: list[tuple[Moment, Signal]], store: PostgresEventStore, keyring: Keyring
) -> None:
    """Place, times, and what was said, by whom; number and evidence, with the keys."""
    events = await _consents(store)
    opened = await keyring.opened([event for _, event in events])
    identity = await keyring.identity()
    for (moment, heard), (position, event), personal in zip(
        told, events, opened, strict=True
    ):
        assert (position, event.recorded_at) == (moment.position, moment.recorded_at)
        assert event.occurred_at == (heard.occurred_at or moment.recorded_at)
        assert event.subject_id == identity.subject_id(heard.phone_number)
        for name in ("status", "sender", "source", "matched_by", "actor"):
            assert getattr(event, name) == getattr(heard, name)
        assert personal == (heard.phone_number, heard.evidence, None)


async def test_every_signal_counts_once(
    told: list[tuple[Moment, Signal]], store: PostgresEventStore, keyring: Keyring
) -> None:
    """Each has its key, at its position, and there is no other."""
    identity = await keyring.identity()
    for moment, heard in told[::50]:
        key = identity.signal_key(heard.key)
        assert await store.position_of(key) == moment.position


async def test_the_projections_are_a_fold_of_it(
    store: PostgresEventStore,
    keyring: Keyring,
    connection: Connection,
    catch_up: CatchUp,
) -> None:
    """Versions are gapless, each event says what the status was before, rows follow."""
    consents = await _consents(store)
    people = await keyring.phone_numbers(event for _, event in consents)
    assert set(people.values()) == {number(n) for n in range(1, SHAPE.numbers + 1)}
    await catch_up()
    assert await read_tables(connection) == fold(
        [RecordedEvent(*each) for each in consents], people
    )


async def test_states_are_those_that_the_database_would_have_joined(
    connection: Connection, store: PostgresEventStore
) -> None:
    """Byte by byte up to what the codec has made."""
    events = await _consents(store)
    columns = zip(*((p, e.recorded_at, e.occurred_at) for p, e in events), strict=True)
    equal = await connection.fetchval(
        TIMES_AS_THE_DATABASE_WRITES_THEM, *columns, STATE_HEAD, STATE_MIDDLE
    )
    assert equal == SHAPE.events


async def test_the_library_reads_it(dsn: str, store: PostgresEventStore) -> None:
    """Event by event what our store reads, and the longest history from end to end."""
    ours: Any = await _consents(store)
    with _stock(dsn) as application:
        sections = application.notification_log.select(1, SHAPE.events + 1)
        mapped: Any = [application.mapper.to_domain_event(each) for each in sections]
        assert mapped == [event for _, event in ours]
        longest = max(event.version for _, event in ours)
        subject_id = next(e.subject_id for _, e in ours if e.version == longest)
        found: Any = application.repository.get(subject_id)
    assert found.version == longest == SHAPE.longest


async def test_the_schema_is_left_as_it_was(filled: Filled) -> None:
    """Constraints, indexes and triggers are still a migrated database's."""
    assert await _fetch(filled.dsn, SCHEMA) == filled.schema
    assert len(filled.schema) > 20


async def test_an_empty_ledger_alone_is_filled(dsn: str) -> None:
    """Nothing is added to what somebody has recorded."""
    with pytest.raises(NotEmpty):
        await asyncio.to_thread(copy_story, dsn, SETTINGS, SHAPE, lambda _: None)


async def test_it_goes_on_as_any_ledger(
    connection: Connection, keyring: Keyring
) -> None:
    """What comes next has the next position, and the next version of its stream."""
    identity = await keyring.identity()
    phone = PhoneNumber(number(LONGEST))
    subject_id = identity.subject_id(phone)
    keys = await keyring.subject_keys([subject_id])
    subject = Subject(subject_id, Version(SHAPE.longest), NO_FACTS)
    heard = text(phone_number=phone)
    [proposal] = decide(subject, heard)
    next_ = encode(
        identity.signal_key(heard.key),
        [proposal],
        Sealing(
            subject_id, keys[subject_id], is_new_key=False, day=await keyring.today()
        ),
    )
    transaction = connection.transaction()
    await transaction.start()
    [outcome] = await append_with(connection, [next_])
    await transaction.rollback()
    assert isinstance(outcome, Appended)
    assert outcome.position == SHAPE.events + 1


async def _consents(
    store: PostgresEventStore,
) -> list[tuple[Position, ConsentChanged]]:
    """The story's events as our store reads them, which checks that none is missing."""
    return [
        (position, event)
        for position, event in await store.read_after(Position(0), SHAPE.events)
        if isinstance(event, ConsentChanged)
    ]


def _stock(dsn: str) -> Ledger:
    given = psycopg.conninfo.conninfo_to_dict(dsn)
    names = {"host": "HOST", "port": "PORT", "dbname": "DBNAME", "user": "USER"}
    env = {f"POSTGRES_{v}": str(given.get(n, 5432)) for n, v in names.items()}
    return Ledger(
        {
            "PERSISTENCE_MODULE": "eventsourcing.postgres",
            "CREATE_TABLE": "n",
            "POSTGRES_PASSWORD": str(given.get("password", "none")),
            **env,
        }
    )


async def _fetch(dsn: str, statement: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetch(statement)
    finally:
        await connection.close()
