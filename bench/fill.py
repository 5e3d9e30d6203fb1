"""Fills a fresh ledger through the real event store, in large batches."""

import asyncio
import itertools
import random
import secrets
from collections import Counter
from collections.abc import Iterator
from typing import Final

import asyncpg

from bench.database import Database
from bench.texts import form, number
from ledger.domain.consent import Proposal
from ledger.domain.ids import PhoneNumber, Sender, Status, Version
from ledger.settings import Settings
from ledger.store.codec import Entry, encode
from ledger.store.database import open_pool
from ledger.store.identity import Identity, IdentityLoader
from ledger.store.postgres import PostgresEventStore
from projections.app import migrate_all

NUMBERS: Final = 100_000
EVENTS: Final = 500_000

_BATCH: Final = 2_500
_WORDS: Final[dict[Status, str]] = {"out": "STOP", "in": "START"}


def fill(database: Database) -> None:
    """500,000 events of 100,000 numbers, scattered; every number ends as out."""
    asyncio.run(_fill(database.dsn))
    database.rows("VACUUM ANALYZE")
    database.rows("CHECKPOINT")


def reset_projections(database: Database) -> None:
    """Make the projections' tables anew, empty, and their checkpoints 0."""
    made = r"SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
    made += r" AND tablename ~ '_v[0-9]+$'"
    for (table,) in database.rows(made):
        database.rows(f'DROP TABLE "{table}"')
    database.rows("DELETE FROM projections")
    asyncio.run(_migrate(database.dsn))
    database.rows("CHECKPOINT")


async def _fill(dsn: str) -> None:
    await _migrate(dsn)
    settings = Settings.from_mapping({})
    async with await open_pool(dsn, settings, application="bench fill") as pool:
        identity = await IdentityLoader(pool).load()
        store = PostgresEventStore(pool)
        entries = _entries(identity)
        while batch := list(itertools.islice(entries, _BATCH)):
            await store.append(batch)


async def _migrate(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await migrate_all(connection)
    finally:
        await connection.close()


def _entries(identity: Identity) -> Iterator[Entry]:
    """Out, in, out, in, out for each number, the numbers in a random order."""
    order = [*range(1, NUMBERS + 1)] * (EVENTS // NUMBERS)
    random.Random(2).shuffle(order)  # noqa: S311 - nothing is kept secret by it
    versions: Counter[int] = Counter()
    for ordinal in order:
        versions[ordinal] += 1
        yield _entry(identity, ordinal, versions[ordinal])


def _entry(identity: Identity, ordinal: int, version: int) -> Entry:
    phone = PhoneNumber(number(ordinal))
    status: Status = "out" if version % 2 else "in"
    message_sid = f"SM{secrets.token_hex(16)}"
    fields = form(phone, message_sid) | {"Body": _WORDS[status]}
    proposal = Proposal(
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
    return encode(f"twilio:{fields['AccountSid']}:{message_sid}", proposal)
