"""The ledger's keys: made once, kept wrapped, and never made anew where one is lost."""

import asyncio
from datetime import UTC, datetime, tzinfo
from typing import Any

import pytest
from builders import MASTER_SECRET, MASTERS, NUMBER, consent_changed, entry, signal

from ledger.command_handler import CommandHandler
from ledger.domain.events import ConsentChanged
from ledger.domain.ids import PhoneNumber, Position, Sealed
from ledger.errors import KeyMissing, MasterKeyMissing, SealBroken
from ledger.settings import Settings
from ledger.store import keyring as keyring_module
from ledger.store.database import Connection, Pool
from ledger.store.keyring import Keyring, Opened
from ledger.store.master import MasterKeys, WrappedKey, key_id
from ledger.store.postgres import PostgresEventStore

OTHERS = MasterKeys([bytes(32)])
OTHER_NUMBER = PhoneNumber("+14155550101")

ERASED = """
    WITH erased AS (DELETE FROM subject_keys WHERE subject_id = $1 RETURNING subject_id)
    INSERT INTO erased_subjects SELECT subject_id, 'out', now(), 1 FROM erased
"""


async def consents(store: PostgresEventStore) -> list[ConsentChanged]:
    """Everything in the ledger."""
    recorded = await store.read_after(Position(0), 10_000)
    return [event for _, event in recorded if isinstance(event, ConsentChanged)]


# The ledger's identity.


async def test_two_at_once_make_one_identity(pool: Pool) -> None:
    """And everyone after them has it too."""
    keyrings = [Keyring(pool, MASTERS) for _ in range(10)]
    identities = await asyncio.gather(*(each.identity() for each in keyrings))
    identities.append(await Keyring(pool, MASTERS).identity())
    assert len({identity.subject_id(NUMBER) for identity in identities}) == 1


async def test_an_identity_is_not_made_where_there_are_events(
    keyring: Keyring, store: PostgresEventStore, pool: Pool, connection: Connection
) -> None:
    """The same numbers would be other people: no STOP would be found any more."""
    await store.append([entry((await keyring.identity()).subject_id(NUMBER))])
    await connection.execute("ALTER TABLE identity_key DISABLE TRIGGER ALL")
    await connection.execute("DELETE FROM identity_key")
    with pytest.raises(KeyMissing, match="restore that table"):
        await Keyring(pool, MASTERS).identity()
    with pytest.raises(KeyMissing, match="restore that table"):
        await Keyring(pool, MASTERS).check()
    assert await connection.fetchval("SELECT count(*) FROM identity_key") == 0


@pytest.mark.parametrize("asked", ["identity", "check"])
async def test_another_master_key_is_refused_with_what_would_be_lost(
    keyring: Keyring, pool: Pool, asked: str
) -> None:
    """By the ids of both, and nothing else is made in its place."""
    identity = await keyring.identity()
    with pytest.raises(MasterKeyMissing) as refused:
        await getattr(Keyring(pool, OTHERS), asked)()
    said = str(refused.value)
    for part in (MASTERS.current, OTHERS.current, "history", "evidence", "no STOP"):
        assert part in said
    again = await Keyring(pool, MASTERS).identity()
    assert again.subject_id(NUMBER) == identity.subject_id(NUMBER)


async def test_a_check_makes_nothing(keyring: Keyring, connection: Connection) -> None:
    """A service that only looks leaves an empty ledger empty."""
    await keyring.check()
    for table in ("identity_key", "evidence_keys", "subject_keys"):
        assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 0  # noqa: S608


async def test_while_rotating_either_process_reads_what_the_other_wraps(
    pool: Pool, store: PostgresEventStore, settings: Settings
) -> None:
    """One has the new key first, the other the old one; both have both."""
    new = b"n" * 32
    processes = [
        Keyring(pool, MasterKeys(secrets))
        for secrets in ([new, MASTER_SECRET], [MASTER_SECRET, new])
    ]
    for n, keyring in enumerate(processes):
        async with CommandHandler(store, keyring, settings) as handler:
            for number in (NUMBER, PhoneNumber(f"+1415555020{n}")):
                await handler.handle(signal(phone_number=number))
    events = await consents(store)
    for keyring in processes:
        opened = await keyring.opened(events)
        assert [each.evidence for each in opened] == [{"Body": "STOP"}] * 4
    wrapped_by = await pool.fetch("SELECT DISTINCT master_key FROM subject_keys")
    assert {row[0] for row in wrapped_by} == {key_id(new), MASTERS.current}


# Its days.


class _Clock:
    """Stands in for ``datetime`` where the day is asked for."""

    now_is = datetime(2026, 11, 21, 23, 59, 59, tzinfo=UTC)

    @classmethod
    def now(cls, zone: tzinfo) -> datetime:
        return cls.now_is.astimezone(zone)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> type[_Clock]:
    """The time that keyrings see."""
    clock: Any = type("Clock", (_Clock,), {})
    monkeypatch.setattr(keyring_module, "datetime", clock)
    found: type[_Clock] = clock
    return found


async def test_two_at_once_make_one_secret_a_day(pool: Pool) -> None:
    """Evidence that one of them seals opens for all."""
    keyrings = [Keyring(pool, MASTERS) for _ in range(10)]
    days = await asyncio.gather(*(each.today() for each in keyrings))
    assert len(set(days)) == 1
    assert await Keyring(pool, MASTERS).today() == days[0]
    assert await pool.fetchval("SELECT count(*) FROM evidence_keys") == 1


async def test_a_new_day_has_a_new_secret(
    keyring: Keyring, clock: type[_Clock]
) -> None:
    """From the first second after midnight in UTC on; within a day it is the same."""
    yesterday = await keyring.today()
    assert await keyring.today() is yesterday
    clock.now_is = datetime(2026, 11, 22, tzinfo=UTC)
    today = await keyring.today()
    assert (yesterday.name, today.name) == ("2026-11-21", "2026-11-22")
    assert yesterday.secret != today.secret
    both = {yesterday.name: yesterday, today.name: today}
    assert await keyring.days([today.name, yesterday.name, "2026-11-23"]) == both


async def test_evidence_of_each_day_opens_while_its_secret_is_there(
    handler: CommandHandler,
    keyring: Keyring,
    store: PostgresEventStore,
    connection: Connection,
    clock: type[_Clock],
) -> None:
    """Without it the number opens still, and the other day's evidence."""
    await handler.handle(signal(evidence={"Body": "STOP on Saturday"}))
    clock.now_is = datetime(2026, 11, 22, tzinfo=UTC)
    await handler.handle(signal(evidence={"Body": "STOP on Sunday"}))
    saturday, sunday = await keyring.opened(await consents(store))
    assert saturday == Opened(NUMBER, {"Body": "STOP on Saturday"})
    await connection.execute("DELETE FROM evidence_keys WHERE name = '2026-11-21'")
    assert await keyring.opened(await consents(store)) == [
        Opened(NUMBER, None),
        sunday,
    ]


async def test_a_kept_key_opens_evidence_of_a_day_that_is_gone(
    handler: CommandHandler, store: PostgresEventStore, keyring: Keyring, pool: Pool
) -> None:
    """Of the subject that it was kept for, under a hold, and of nobody else."""
    for number in (NUMBER, OTHER_NUMBER):
        await handler.handle(signal(phone_number=number))
    events = await consents(store)
    day = await keyring.today()
    held = events[0].subject_id
    secret = (await keyring.subject_keys([held]))[held].evidence_secret(day)
    kept = MASTERS.wrap(secret, keyring_module.kept_purpose(held, day.name))
    insert = "INSERT INTO kept_evidence_keys VALUES ($1, $2, $3, $4)"
    await pool.execute(insert, held, day.name, *kept)
    await pool.execute("DELETE FROM evidence_keys")
    assert await keyring.opened(events) == [
        Opened(NUMBER, {"Body": "STOP"}),
        Opened(OTHER_NUMBER, None),
    ]


# Its subjects.


async def test_a_subject_has_one_key_from_its_first_event_on(
    handler: CommandHandler, store: PostgresEventStore, keyring: Keyring, pool: Pool
) -> None:
    """Each subject its own; what is stored of it is wrapped."""
    for number in (NUMBER, OTHER_NUMBER, NUMBER):
        await handler.handle(signal(phone_number=number))
    events = await consents(store)
    assert all(isinstance(event.phone_number, Sealed) for event in events)
    assert await keyring.phone_numbers(events) == {
        events[0].subject_id: NUMBER,
        events[1].subject_id: OTHER_NUMBER,
    }
    keys = await keyring.subject_keys(event.subject_id for event in events)
    assert len({key.id for key in keys.values()}) == 2
    assert await pool.fetchval("SELECT count(*) FROM subject_keys") == 2


async def test_what_a_destroyed_key_has_sealed_is_erased(
    handler: CommandHandler, store: PostgresEventStore, keyring: Keyring, pool: Pool
) -> None:
    """Its subject is left out, and every other one is not."""
    for number in (NUMBER, OTHER_NUMBER):
        await handler.handle(signal(phone_number=number))
    events = await consents(store)
    await pool.execute(ERASED, events[0].subject_id)
    assert await keyring.phone_numbers(events) == {events[1].subject_id: OTHER_NUMBER}
    assert await keyring.opened(events) == [
        Opened(None, None),
        Opened(OTHER_NUMBER, {"Body": "STOP"}),
    ]


async def test_a_key_that_is_missing_though_nobody_has_erased_it_is_a_fault(
    store: PostgresEventStore, keyring: Keyring, settings: Settings, pool: Pool
) -> None:
    """Nothing is recorded under another key, which would hide that one is lost."""
    async with CommandHandler(store, keyring, settings) as handler:
        await handler.handle(signal())
        await pool.execute("DELETE FROM subject_keys")
    async with CommandHandler(store, keyring, settings) as handler:
        with pytest.raises(KeyMissing, match="not erased"):
            await handler.handle(signal(status="in"))
        other = await handler.handle(signal(phone_number=OTHER_NUMBER))
    assert other.position == 2
    assert [event.status for event in await consents(store)] == ["out", "out"]
    assert await pool.fetchval("SELECT count(*) FROM subject_keys") == 1


@pytest.mark.parametrize(
    "change",
    [
        """UPDATE subject_keys AS k SET wrapped_key = o.wrapped_key
        FROM subject_keys AS o WHERE o.subject_id <> k.subject_id""",
        "UPDATE subject_keys SET master_key = 'another'",
        "UPDATE subject_keys SET wrapped_key = ''",
    ],
)
async def test_a_key_that_was_tampered_with_is_refused(
    handler: CommandHandler,
    store: PostgresEventStore,
    keyring: Keyring,
    pool: Pool,
    change: str,
) -> None:
    """Copied from another subject, cut, or said to be another master key's."""
    for number in (NUMBER, OTHER_NUMBER):
        await handler.handle(signal(phone_number=number))
    events = await consents(store)
    await pool.execute(change)
    with pytest.raises(MasterKeyMissing):
        await keyring.phone_numbers(events)


async def test_a_key_of_another_subject_does_not_open_its_events(
    handler: CommandHandler, store: PostgresEventStore, keyring: Keyring, pool: Pool
) -> None:
    """Though someone who has the master key has wrapped it for that subject."""
    await handler.handle(signal())
    [event] = await consents(store)
    wrong = MASTERS.wrap(bytes(32), keyring_module.subject_purpose(event.subject_id))
    update = "UPDATE subject_keys SET wrapped_key = $1, master_key = $2"
    await pool.execute(update, *wrong)
    with pytest.raises(SealBroken):
        await keyring.phone_numbers([event])
    assert keyring.subject_key(event.subject_id, WrappedKey(*wrong)).id == key_id(
        bytes(32)
    )


async def test_an_event_that_is_open_is_not_opened(keyring: Keyring) -> None:
    """Whoever mixes the two up is told, before anything is answered."""
    event = consent_changed((await keyring.identity()).subject_id(NUMBER))
    with pytest.raises(TypeError, match="open already"):
        await keyring.opened([event])
