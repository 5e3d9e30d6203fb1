"""A batch in which several signals of one subject depend on each other."""

from uuid import uuid4

from builders import entry_of, signal

from ledger.domain.consent import Subject, assume, decide, evolve, nobody
from ledger.domain.ids import Position, SubjectId, Version
from ledger.domain.signals import Signal
from ledger.store.codec import Entry
from ledger.store.event_store import Conflict, Duplicate
from ledger.store.postgres import PostgresEventStore


def _batch(subject: Subject, *signals: Signal) -> list[Entry]:
    """Entries as the command handler makes them for one batch."""
    entries = []
    for each in signals:
        [proposal] = decide(subject, each)
        entries.append(entry_of(proposal, each.key))
        subject = assume(subject, proposal)
    return entries


async def test_a_repeat_in_a_batch_leaves_no_gap_in_the_versions(
    store: PostgresEventStore,
) -> None:
    """What follows it was decided with it, and is decided again."""
    who = nobody(SubjectId(uuid4()))
    repeated = signal()
    await store.append(_batch(who, repeated))
    # Decided at version 0, while the ledger is at 1.
    await store.append(_batch(who, signal(), repeated, signal(status="in")))
    events = (await store.read_streams({who.id: Version(0)}))[who.id].events
    assert [e.event.version for e in events] == [*range(1, len(events) + 1)]


async def test_what_follows_a_repeat_is_not_recorded_on_a_wrong_state(
    store: PostgresEventStore,
) -> None:
    """Its version may be the next one only because another process has appended."""
    who = nobody(SubjectId(uuid4()))
    repeated = signal()
    await store.append(_batch(who, repeated))
    [first] = (await store.read_streams({who.id: Version(0)}))[who.id].events
    known = evolve(who, first.event)
    await store.append(_batch(known, signal(status="in")))
    outcomes = await store.append(_batch(known, repeated, signal()))
    assert outcomes == [Duplicate(Position(1)), Conflict()]
