"""The whole ledger, held against what was acknowledged and against a pure fold of it.

Reads the tables as they are and never through the API, which could hide a fault; opens
what is sealed with the master key that every service under test is given. The fold uses
the domain's functions alone.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import asyncpg
from builders import ACCOUNT_SID, MASTERS
from conftest import settings_for
from e2e.processes import eventually

from ledger.domain.consent import (
    Subject,
    deciding,
    evolve,
    nobody,
    overall_deciding,
    status_for,
)
from ledger.domain.events import (
    ConsentChanged,
    LedgerEvent,
    MessageEvent,
    MessageReceived,
)
from ledger.domain.ids import PhoneNumber, Position, SubjectId, Version
from ledger.domain.signals import Evidence
from ledger.store.codec import RecordedEvent
from ledger.store.database import Connection, open_pool
from ledger.store.keyring import Keyring
from ledger.store.postgres import PostgresEventStore

Row = tuple[object, ...]

_EVERYTHING: Final = 1_000_000
_NUMBERS: Final = """
    SELECT subject_id, phone_number, status, since, position, version, updated_at
    FROM phone_numbers_v1"""
_SENDERS: Final = """
    SELECT subject_id, phone_number, sender, status, since, position, version
    FROM phone_number_senders_v1"""
_HISTORY: Final = """
    SELECT subject_id, position, version, sender, status, previous_status,
        occurred_at, recorded_at, source, matched_by, actor
    FROM consent_history_v1"""


_MESSAGES: Final = """
    SELECT message_id, subject_id, phone_number, direction, status, position, version
    FROM messages_v1"""


@dataclass(frozen=True)
class Tables:
    """Every row of the tables that the projections fill."""

    numbers: Counter[Row]
    senders: Counter[Row]
    history: Counter[Row]
    messages: Counter[Row]


@dataclass(frozen=True)
class Whole:
    """Everything in one ledger, and what was made of it."""

    events: Sequence[RecordedEvent]
    evidence: Mapping[Position, Evidence]
    people: Mapping[SubjectId, PhoneNumber]
    keys: Mapping[str, int]
    """The MessageSids that the ledger has a key for, each with its position."""
    keys_count: int
    tables: Tables

    def message_sids(self) -> dict[str, Position]:
        """The messages that events are evidence of, each with its position."""
        return {str(found["MessageSid"]): at for at, found in self.evidence.items()}

    def reflected(self) -> set[str]:
        """The MessageSids that are in the ledger, under their key and in a row."""
        shown = {row[1] for row in self.tables.history}
        return {
            sid
            for sid, position in self.message_sids().items()
            if self.keys.get(sid) == position and position in shown
        }


async def read_whole(dsn: str) -> Whole:
    """Read everything, once both projections have reached the end."""
    connection = await asyncpg.connect(dsn)
    try:
        await eventually(lambda: _is_projected(connection))
        settings = settings_for(dsn)
        async with await open_pool(dsn, settings, application="audit") as pool:
            store, keyring = PostgresEventStore(pool), Keyring(pool, MASTERS)
            events = await store.read_after(Position(0), _EVERYTHING)
            consents = [(p, e) for p, e in events if isinstance(e, ConsentChanged)]
            sealed = [
                (position, event)
                for position, event in events
                if isinstance(event, ConsentChanged | MessageEvent)
            ]
            opened = await keyring.opened([event for _, event in sealed])
            people = await keyring.phone_numbers(event for _, event in consents)
        evidence = {
            position: found
            for (position, _), each in zip(sealed, opened, strict=True)
            if (found := each.evidence) is not None
        }
        sids = {str(found["MessageSid"]) for found in evidence.values()}
        keys = await recorded_keys(connection, sids)
        count = await connection.fetchval("SELECT count(*) FROM signal_keys")
        tables = await read_tables(connection)
        return Whole(events, evidence, people, keys, count, tables)
    finally:
        await connection.close()


async def recorded_keys(
    connection: Connection, message_sids: Collection[str]
) -> dict[str, int]:
    """Those of the messages that the ledger has a key for, each with its position."""
    identity = await Keyring(connection, MASTERS).identity()
    rows = await connection.fetch("SELECT signal_key, position FROM signal_keys")
    positions = {row["signal_key"]: row["position"] for row in rows}
    keys = {sid: identity.signal_key(_key_of(sid)) for sid in message_sids}
    return {sid: positions[key] for sid, key in keys.items() if key in positions}


def assert_whole(whole: Whole, acknowledged: Collection[str]) -> None:
    """Nothing is lost, doubled, out of order, or other than a fold of the events."""
    positions = [position for position, _ in whole.events]
    assert positions == list(range(1, len(positions) + 1))
    times = [event.recorded_at for _, event in whole.events]
    assert times == sorted(times)
    assert whole.message_sids() == whole.keys
    caused = [event for _, event in whole.events if not _is_caused(event)]
    assert len(whole.keys) == whole.keys_count == len(caused)
    assert_texts_behind_consents(whole.events)
    assert set(acknowledged) - whole.reflected() == set()
    folded = fold(whole.events, whole.people)
    assert whole.tables.history == folded.history
    assert whole.tables.senders == folded.senders
    assert whole.tables.numbers == folded.numbers
    assert whole.tables.messages == folded.messages


def assert_texts_behind_consents(events: Sequence[RecordedEvent]) -> None:
    """What says something of consent is followed by its text, and no half is there."""
    for (_, before), (_, event) in pairwise([*events, *events[:1]]):
        if isinstance(before, ConsentChanged):
            assert isinstance(event, MessageReceived)
            assert event.consent_version == before.version
            assert event.counterparty == before.subject_id
            assert event.recorded_at == before.recorded_at
        elif isinstance(event, MessageReceived):
            assert event.consent_version is None


def _is_caused(event: LedgerEvent) -> bool:
    return isinstance(event, MessageEvent) and event.has_cause


def _key_of(message_sid: str) -> str:
    """The key under which a text counts once."""
    return f"twilio:{ACCOUNT_SID}:{message_sid}"


def fold(
    events: Sequence[RecordedEvent], people: Mapping[SubjectId, PhoneNumber]
) -> Tables:
    """What the tables must be, by the domain's rules alone; nobody has been erased."""
    subjects: dict[SubjectId, Subject] = {}
    streams: dict[SubjectId, list[RecordedEvent]] = {}
    for recorded in events:
        event = recorded.event
        if isinstance(event, MessageEvent):
            continue
        subject = subjects.get(event.subject_id) or nobody(event.subject_id)
        assert isinstance(event, ConsentChanged)
        assert event.version == subject.version + 1
        assert event.previous_status == status_for(subject.facts, event.sender)
        subjects[subject.id] = evolve(subject, event)
        streams.setdefault(subject.id, []).append(recorded)
    return Tables(
        numbers=Counter(
            _number(people[i], subject, streams[i]) for i, subject in subjects.items()
        ),
        senders=Counter(
            row
            for i, subject in subjects.items()
            for row in _senders(people[i], subject, streams[i])
        ),
        history=Counter(
            _event(each) for each in events if isinstance(each.event, ConsentChanged)
        ),
        messages=Counter(
            _message(each, people)
            for each in events
            if isinstance(each.event, MessageReceived)
        ),
    )


def _number(
    number: PhoneNumber, subject: Subject, stream: Sequence[RecordedEvent]
) -> Row:
    position, newest = stream[-1]
    decisive = overall_deciding(subject.facts)
    assert decisive is not None
    return (
        subject.id,
        number,
        decisive.status,
        decisive.occurred_at,
        position,
        newest.version,
        newest.recorded_at,
    )


def _senders(
    number: PhoneNumber, subject: Subject, stream: Sequence[RecordedEvent]
) -> list[Row]:
    positions: dict[Version, Position] = {e.version: p for p, e in stream}
    rows: list[Row] = []
    for sender in subject.facts:
        fact = deciding(subject.facts, sender)
        assert fact is not None
        when = (fact.occurred_at, positions[fact.version], fact.version)
        rows.append((subject.id, number, sender, fact.status, *when))
    return rows


def _message(recorded: RecordedEvent, people: Mapping[SubjectId, PhoneNumber]) -> Row:
    position, event = recorded
    who, number = event.subject_id, people[event.subject_id]
    return (event.stream_id, who, number, "incoming", "received", position, 1)


def _event(recorded: RecordedEvent) -> Row:
    position, event = recorded
    assert isinstance(event, ConsentChanged)
    return (
        event.subject_id,
        position,
        event.version,
        event.sender,
        event.status,
        event.previous_status,
        event.occurred_at,
        event.recorded_at,
        event.source,
        event.matched_by,
        event.actor,
    )


async def _is_projected(connection: Connection) -> bool:
    return bool(
        await connection.fetchval(
            "SELECT bool_and(p.position = l.position) "
            "FROM projections AS p, ledger_position AS l"
        )
    )


async def read_tables(connection: Connection) -> Tables:
    """What the projections have written."""
    fetched = [
        await connection.fetch(q) for q in (_NUMBERS, _SENDERS, _HISTORY, _MESSAGES)
    ]
    return Tables(*(Counter(map(tuple, rows)) for rows in fetched))
