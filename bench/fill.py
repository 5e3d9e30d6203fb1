"""Fills a fresh ledger through the real event store, in large batches."""

import asyncio
import itertools
import random
import secrets
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import asyncpg

from bench.database import Database
from bench.texts import form, number
from ledger.domain.consent import Proposal
from ledger.domain.ids import PhoneNumber, Sender, Status, Version
from ledger.master_key import load_master_keys
from ledger.settings import Settings
from ledger.store.codec import Entry, Sealing, encode
from ledger.store.database import open_pool
from ledger.store.identity import Identity
from ledger.store.keyring import Keyring
from ledger.store.postgres import PostgresEventStore
from ledger.store.sealing import Day, SubjectKey
from projections.app import migrate_all

NUMBERS: Final = 100_000
EVENTS: Final = 500_000

_BATCH: Final = 2_500
_WORDS: Final[dict[Status, str]] = {"out": "STOP", "in": "START"}


def fill(database: Database) -> None:
    """500,000 events of 100,000 numbers, scattered; every number ends as out."""
    asyncio.run(_fill(database.dsn, database.folder))
    database.rows("VACUUM ANALYZE")
    database.rows("CHECKPOINT")


def reset_projections(database: Database) -> None:
    """Make the projections' tables anew, empty, and their checkpoints 0."""
    made = r"SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
    made += r" AND tablename ~ '_v[0-9]+$'"
    for (table,) in database.rows(made):
        database.rows(f'DROP TABLE "{table}"')
    for (function,) in database.rows(
        r"SELECT proname FROM pg_proc WHERE proname ~ '_v[0-9]+_erase$'"
    ):
        database.rows(f'DROP FUNCTION "{function}"')
    database.rows("DELETE FROM projection_pointers")
    database.rows("DELETE FROM projections")
    database.rows("DELETE FROM projection_digests")
    asyncio.run(_migrate(database.dsn))
    database.rows("CHECKPOINT")


async def _fill(dsn: str, folder: Path) -> None:
    await _migrate(dsn)
    # The folder's master key is the one that the service will find there.
    settings = Settings.from_mapping({"LEDGER_DATA_DIR": str(folder)})
    async with await open_pool(dsn, settings, application="bench fill") as pool:
        keyring = Keyring(pool, load_master_keys(settings))
        store = PostgresEventStore(pool)
        entries = _entries(keyring, await keyring.identity(), await keyring.today())
        while batch := list(itertools.islice(entries, _BATCH)):
            await store.append(batch)


async def _migrate(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await migrate_all(connection)
    finally:
        await connection.close()


def _entries(keyring: Keyring, identity: Identity, day: Day) -> Iterator[Entry]:
    """Out, in, out, in, out for each number, the numbers in a random order."""
    order = [*range(1, NUMBERS + 1)] * (EVENTS // NUMBERS)
    random.Random(2).shuffle(order)  # noqa: S311 - nothing is kept secret by it
    keys: dict[int, SubjectKey] = {}
    versions: Counter[int] = Counter()
    for ordinal in order:
        versions[ordinal] += 1
        proposal = _proposal(identity, ordinal, versions[ordinal])
        is_new = proposal.version == 1
        if is_new:
            keys[ordinal] = keyring.new_subject_key(proposal.subject_id)
        sealing = Sealing(
            proposal.subject_id, keys[ordinal], is_new_key=is_new, day=day
        )
        signal_key = identity.signal_key(str(proposal.evidence["MessageSid"]))
        yield encode(signal_key, [proposal], sealing)


def _proposal(identity: Identity, ordinal: int, version: int) -> Proposal:
    phone = PhoneNumber(number(ordinal))
    status: Status = "out" if version % 2 else "in"
    fields = form(phone, f"SM{secrets.token_hex(16)}") | {"Body": _WORDS[status]}
    return Proposal(
        subject_id=identity.subject_id(phone),
        version=Version(version),
        status=status,
        previous_status="unknown" if version == 1 else "in" if version % 2 else "out",
        sender=Sender(fields["MessagingServiceSid"]),
        occurred_at=None,
        source="twilio.inbound",
        matched_by="keyword",
        actor="subject",
        phone_number=phone,
        evidence={**fields, "channel": "sms"},
    )
