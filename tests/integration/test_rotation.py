"""Rotating the master key: every key is wrapped anew, and nothing else changes."""

import os
import signal as signals
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Final

import pytest
from builders import MASTER_KEY, MASTER_SECRET, MASTERS, NUMBER, signal

from ledger import rotation
from ledger.command_handler import CommandHandler
from ledger.domain.events import ConsentChanged
from ledger.domain.ids import PhoneNumber, Position
from ledger.erasure import Erasures
from ledger.errors import MasterKeyMissing
from ledger.rotation import Rotation
from ledger.settings import Settings
from ledger.store.database import Connection, Pool
from ledger.store.keyring import Keyring, Opened
from ledger.store.master import key_id, new_master_key, parse_master_keys
from ledger.store.postgres import PostgresEventStore

NEW_KEY: Final = new_master_key()
NEW: Final = parse_master_keys(NEW_KEY)
BOTH: Final = parse_master_keys(f"{NEW_KEY},{MASTER_KEY}")
OLD_ID: Final = key_id(MASTER_SECRET)
NUMBERS: Final = [PhoneNumber(f"+1415555010{i}") for i in range(5)]
EVENTS: Final = "SELECT * FROM ledger_events ORDER BY notification_id"
SUBJECTS: Final = "SELECT * FROM subject_keys ORDER BY subject_id"

KILLED: Final = """
import os, signal, sys
from ledger import rotation
from ledger.__main__ import main

rotation.BATCH_MAX = 1
batch, seen = rotation.Rotation._batch, []

async def dying(self, *given):
    seen.append(given)
    if len(seen) > 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return await batch(self, *given)

rotation.Rotation._batch = dying
sys.argv = ["consent-ledger", "keys", "rotate-master"]
main()
"""


def nothing(_: int) -> None:
    """Nobody looks."""


@pytest.fixture
async def handler(
    store: PostgresEventStore, keyring: Keyring, settings: Settings
) -> AsyncIterator[CommandHandler]:
    """A handler that wraps with the old master key, and has recorded some people."""
    async with CommandHandler(store, keyring, settings) as handler:
        for number in NUMBERS:
            await handler.handle(signal(phone_number=number))
        yield handler


async def opened(store: PostgresEventStore, keyring: Keyring) -> list[Opened]:
    """The personal data of every event, in order."""
    recorded = await store.read_after(Position(0), 1000)
    return await keyring.opened(
        [event for _, event in recorded if isinstance(event, ConsentChanged)]
    )


@pytest.mark.usefixtures("handler")
async def test_no_event_is_touched(pool: Pool, connection: Connection) -> None:
    """Every event is byte for byte what it was."""
    before = await connection.fetch(EVENTS)
    assert await Rotation(pool, BOTH).run(nothing) == len(NUMBERS) + 2
    assert await connection.fetch(EVENTS) == before


@pytest.mark.usefixtures("handler")
async def test_the_new_key_alone_opens_everything(
    pool: Pool, store: PostgresEventStore
) -> None:
    """The number of each subject, the evidence, and the identity are as before."""
    old = Keyring(pool, MASTERS)
    before = await opened(store, old)
    subject_id = (await old.identity()).subject_id(NUMBER)
    await Rotation(pool, BOTH).run(nothing)
    new = Keyring(pool, NEW)
    assert await opened(store, new) == before
    assert {who.phone_number for who in before} == {*NUMBERS}
    assert (await new.identity()).subject_id(NUMBER) == subject_id


@pytest.mark.usefixtures("handler")
async def test_the_old_key_alone_opens_nothing(
    pool: Pool, store: PostgresEventStore
) -> None:
    """Once all is wrapped anew, the old one may be destroyed."""
    rotation_ = Rotation(pool, BOTH)
    assert (await rotation_.in_use()).keys == {OLD_ID: len(NUMBERS) + 2}
    await rotation_.run(nothing)
    assert await rotation_.in_use() == (NEW.current, {NEW.current: len(NUMBERS) + 2})
    with pytest.raises(MasterKeyMissing):
        await opened(store, Keyring(pool, MASTERS))


@pytest.mark.usefixtures("handler")
async def test_keys_kept_under_a_hold_are_wrapped_anew(
    pool: Pool, connection: Connection
) -> None:
    """Each for the subject and the day that it is of."""
    keyring = Keyring(pool, MASTERS)
    day = await keyring.today()
    subject_id = (await keyring.identity()).subject_id(NUMBER)
    [kept] = await keyring.to_keep({subject_id: [day.name]})
    await connection.execute(
        "INSERT INTO kept_evidence_keys VALUES ($1, $2, $3, $4)",
        *kept[:2],
        *kept.wrapped,
    )
    await connection.execute("DELETE FROM evidence_keys")
    await Rotation(pool, BOTH).run(nothing)
    [first, *others] = await opened(PostgresEventStore(pool), Keyring(pool, NEW))
    assert first.evidence == {"Body": "STOP"}
    assert {who.evidence for who in others} == {None}


@pytest.mark.usefixtures("handler")
async def test_a_second_rotation_finds_nothing_to_do(
    pool: Pool, connection: Connection
) -> None:
    """What the current key has wrapped stays as it is."""
    await Rotation(pool, BOTH).run(nothing)
    before = await connection.fetch(SUBJECTS)
    assert await Rotation(pool, BOTH).run(nothing) == 0
    assert await connection.fetch(SUBJECTS) == before


@pytest.mark.usefixtures("handler")
async def test_a_rotation_that_was_killed_goes_on_where_it_was(
    pool: Pool, store: PostgresEventStore, settings: Settings, dsn: str
) -> None:
    """After kill -9 between two batches everything opens, and the rest is done."""
    before = await opened(store, Keyring(pool, MASTERS))
    environment = {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": dsn,
        "LEDGER_MASTER_KEY": f"{NEW_KEY},{MASTER_KEY}",
        "LEDGER_DATA_DIR": str(settings.data_dir),
    }
    done = subprocess.run(  # noqa: ASYNC221 it is waited for
        [sys.executable, "-c", KILLED],
        env=environment,
        capture_output=True,
        check=False,
    )
    assert done.returncode == -signals.SIGKILL, done.stderr
    rotation_ = Rotation(pool, BOTH)
    in_use = await rotation_.in_use()
    assert 0 < in_use.left < len(NUMBERS) + 2
    assert await opened(store, Keyring(pool, BOTH)) == before
    assert await rotation_.run(nothing) == in_use.left
    assert await opened(store, Keyring(pool, NEW)) == before


async def test_batches_leave_nobody_out(
    handler: CommandHandler,
    pool: Pool,
    connection: Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However many keys there are to a batch; the progress adds up to all of them."""
    monkeypatch.setattr(rotation, "BATCH_MAX", 2)
    for i in range(6):
        await handler.handle(signal(phone_number=PhoneNumber(f"+1415555020{i}")))
    counts: list[int] = []
    await Rotation(pool, BOTH).run(counts.append)
    assert sum(counts) == len(NUMBERS) + 6 + 2
    assert max(counts) == 2
    old = "SELECT count(*) FROM subject_keys WHERE master_key = $1"
    assert await connection.fetchval(old, OLD_ID) == 0


@pytest.mark.usefixtures("handler")
async def test_a_subject_erased_meanwhile_does_not_come_back(
    pool: Pool,
    store: PostgresEventStore,
    connection: Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nor is a key set that was changed since it was read."""
    keyring = Keyring(pool, BOTH)
    erased = (await keyring.identity()).subject_id(NUMBER)
    fetch, altered = pool.fetch, b"changed by somebody else"

    async def interrupted(statement: str, *given: object) -> object:
        rows = await fetch(statement, *given)
        if "FROM subject_keys\n" in statement and rows:
            monkeypatch.undo()
            await Erasures(pool, store, keyring).erase(NUMBER, reason="x", actor="x")
            await connection.execute(
                "UPDATE subject_keys SET wrapped_key = $1 WHERE subject_id = $2",
                altered,
                next(row[0] for row in rows if row[0] != erased),
            )
        return rows

    monkeypatch.setattr(pool, "fetch", interrupted)
    assert await Rotation(pool, BOTH).run(nothing) == len(NUMBERS) - 2 + 2
    boxes = [row["wrapped_key"] for row in await connection.fetch(SUBJECTS)]
    assert len(boxes) == len(NUMBERS) - 1
    assert altered in boxes


@pytest.mark.usefixtures("handler")
async def test_a_master_key_that_was_not_given_is_named_before_anything_changes(
    pool: Pool, connection: Connection
) -> None:
    """Without the old key nothing can be wrapped anew."""
    before = await connection.fetch(SUBJECTS)
    with pytest.raises(MasterKeyMissing, match=OLD_ID):
        await Rotation(pool, NEW).in_use()
    assert await connection.fetch(SUBJECTS) == before


@pytest.mark.usefixtures("handler")
async def test_a_process_that_has_the_old_key_first_is_noticed(
    pool: Pool, store: PostgresEventStore, settings: Settings
) -> None:
    """What it wraps meanwhile is counted, so that the old key is not thrown away."""
    rotation_ = Rotation(pool, BOTH)
    await rotation_.run(nothing)
    old_first = Keyring(pool, parse_master_keys(f"{MASTER_KEY},{NEW_KEY}"))
    async with CommandHandler(store, old_first, settings) as other:
        await other.handle(signal(phone_number=PhoneNumber("+14155550199")))
    assert (await rotation_.in_use()).left == 1
    assert await rotation_.run(nothing) == 1
    assert (await rotation_.in_use()).left == 0
