"""The whole ledger, held against what was acknowledged and against a pure fold of it.

Reads the tables as they are and never through the API, which could hide a fault. The
fold uses the domain's functions alone.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg
from builders import ACCOUNT_SID
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
from ledger.domain.ids import PhoneNumber, Position, SubjectId, Version
from ledger.store.codec import RecordedEvent
from ledger.store.database import Connection, open_pool
from ledger.store.postgres import PostgresEventStore

Row = tuple[object, ...]

_EVERYTHING: Final = 1_000_000
_NUMBERS: Final = """
    SELECT phone_number, status, since, position, version, updated_at
    FROM phone_numbers_v1"""
_SENDERS: Final = """
    SELECT phone_number, sender, status, since, position, version
    FROM phone_number_senders_v1"""
_HISTORY: Final = """
    SELECT phone_number, position, version, sender, status, previous_status,
        occurred_at, recorded_at, source, matched_by, actor
    FROM consent_history_v1"""


@dataclass(frozen=True)
class Tables:
    """Every row of the tables that the projections fill."""

    numbers: Counter[Row]
    senders: Counter[Row]
    history: Counter[Row]


@dataclass(frozen=True)
class Whole:
    """Everything in one ledger, and what was made of it."""

    events: Sequence[RecordedEvent]
    keys: dict[str, int]
    tables: Tables

    def reflected(self) -> set[str]:
        """The MessageSids that are in the ledger, under their key and in a row."""
        shown = {row[1] for row in self.tables.history}
        return {
            sid
            for position, sid in message_sids(self.events)
            if self.keys.get(key_of(sid)) == position and position in shown
        }


async def read_whole(dsn: str) -> Whole:
    """Read everything, once both projections have reached the end."""
    connection = await asyncpg.connect(dsn)
    try:
        await eventually(lambda: _is_projected(connection))
        settings = settings_for(dsn)
        async with await open_pool(dsn, settings, application="audit") as pool:
            store = PostgresEventStore(pool)
            events = await store.read_after(Position(0), _EVERYTHING)
        keys = await connection.fetch("SELECT signal_key, position FROM signal_keys")
        return Whole(events, dict(map(tuple, keys)), await _tables(connection))
    finally:
        await connection.close()


def assert_whole(whole: Whole, acknowledged: Collection[str]) -> None:
    """Nothing is lost, doubled, out of order, or other than a fold of the events."""
    positions = [position for position, _ in whole.events]
    assert positions == list(range(1, len(positions) + 1))
    times = [event.recorded_at for _, event in whole.events]
    assert times == sorted(times)
    assert {key_of(s): p for p, s in message_sids(whole.events)} == whole.keys
    assert len(whole.keys) == len(whole.events)
    assert set(acknowledged) - whole.reflected() == set()
    folded = fold(whole.events)
    assert whole.tables.history == folded.history
    assert whole.tables.senders == folded.senders
    assert whole.tables.numbers == folded.numbers


def message_sids(events: Sequence[RecordedEvent]) -> list[tuple[Position, str]]:
    """Each event's position and the message that it is evidence of."""
    return [(p, str(event.evidence["MessageSid"])) for p, event in events]


def key_of(message_sid: str) -> str:
    """The key under which a text counts once."""
    return f"twilio:{ACCOUNT_SID}:{message_sid}"


def fold(events: Sequence[RecordedEvent]) -> Tables:
    """What the tables must be, by the domain's rules alone."""
    subjects: dict[SubjectId, Subject] = {}
    streams: dict[SubjectId, list[RecordedEvent]] = {}
    for recorded in events:
        event = recorded.event
        subject = subjects.get(event.subject_id) or nobody(event.subject_id)
        assert event.version == subject.version + 1
        assert event.previous_status == status_for(subject.facts, event.sender)
        subjects[subject.id] = evolve(subject, event)
        streams.setdefault(subject.id, []).append(recorded)
    return Tables(
        numbers=Counter(_number(subjects[i], streams[i]) for i in subjects),
        senders=Counter(r for i in subjects for r in _senders(subjects[i], streams[i])),
        history=Counter(map(_event, events)),
    )


def _number(subject: Subject, stream: Sequence[RecordedEvent]) -> Row:
    position, newest = stream[-1]
    decisive = overall_deciding(subject.facts)
    assert decisive is not None
    return (
        newest.phone_number,
        decisive.status,
        decisive.occurred_at,
        position,
        newest.version,
        newest.recorded_at,
    )


def _senders(subject: Subject, stream: Sequence[RecordedEvent]) -> list[Row]:
    number: PhoneNumber = stream[0].event.phone_number
    positions: dict[Version, Position] = {e.version: p for p, e in stream}
    rows: list[Row] = []
    for sender in subject.facts:
        fact = deciding(subject.facts, sender)
        assert fact is not None
        position = positions[fact.version]
        rows.append(
            (number, sender, fact.status, fact.occurred_at, position, fact.version)
        )
    return rows


def _event(recorded: RecordedEvent) -> Row:
    position, event = recorded
    return (
        event.phone_number,
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


async def _tables(connection: Connection) -> Tables:
    fetched = [await connection.fetch(q) for q in (_NUMBERS, _SENDERS, _HISTORY)]
    return Tables(*(Counter(map(tuple, rows)) for rows in fetched))
