"""An export, imported again: what it said is said once more, to the letter."""

import asyncio
import io
from datetime import UTC, datetime
from pathlib import Path

import pytest
from builders import NUMBER, signal

from ledger.command_handler import CommandHandler
from ledger.domain.events import ConsentChanged
from ledger.domain.ids import Position
from ledger.export.asked import Asked, Format
from ledger.export.export import Export
from ledger.export.work import Work
from ledger.imports.importer import Importer, Tally
from ledger.imports.interpret import Interpreter, Rules
from ledger.imports.refusals import NdjsonReport
from ledger.imports.rows import read_rows
from ledger.imports.sinks import Recording, Repeats
from ledger.store.keyring import Keyring
from ledger.store.postgres import PostgresEventStore

SENDERS = ("MG1", "*", "=1+1", "-a sender", "'quoted'", "@x", '"a", b')
AT = datetime(2026, 2, 1, tzinfo=UTC)


async def said(
    store: PostgresEventStore, keyring: Keyring, after: int
) -> list[tuple[object, ...]]:
    """Whatever decides: number, sender, status and time, of each event in order."""
    recorded = await store.read_after(Position(after), 1_000)
    events = [event for _, event in recorded if isinstance(event, ConsentChanged)]
    opened = await keyring.opened(events)
    return sorted(
        (number, event.sender, event.status, event.occurred_at)
        for event, (number, *_) in zip(events, opened, strict=True)
    )


@pytest.mark.parametrize("kind", ["csv", "ndjson"])
async def test_what_was_exported_is_imported_as_it_was(
    kind: Format,
    store: PostgresEventStore,
    keyring: Keyring,
    handler: CommandHandler,
    tmp_path: Path,
) -> None:
    """Also a text that a spreadsheet would run, behind its apostrophe."""
    for sender in SENDERS:
        await handler.handle(signal(phone_number=NUMBER, sender=sender))
    before = await said(store, keyring, 0)
    export = Export(store, keyring, Asked(format=kind), Work(tmp_path / "made"))
    await export.begin(AT)
    await export.run(lambda _: None)
    tally = await _imported((tmp_path / "made").read_bytes(), store, keyring, handler)
    assert (tally.recorded, tally.refused.total()) == (len(SENDERS), 0)
    assert await said(store, keyring, len(SENDERS)) == before


async def _imported(
    content: bytes, store: PostgresEventStore, keyring: Keyring, handler: CommandHandler
) -> Tally:
    rows = read_rows(io.BytesIO(content))
    rules = Rules(source="copy", file="made", actor="cli:ann")
    sink = Recording(handler, Repeats(store, keyring))
    reader = Interpreter(rules, rows.names)
    importer = Importer(reader, sink, NdjsonReport(io.StringIO()), lambda _: None)
    await importer.run(rows, asyncio.Event())
    return importer.tally
