"""Making an export: begun, or gone on with, to a finished file and its manifest.

A batch is held at a time. What is asked for is fixed when it is begun: events recorded
since, and persons erased since, change nothing of what was written already.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import IO, Final

from ledger.domain.ids import Position
from ledger.errors import InvalidRequest, LedgerError
from ledger.event_record import (
    EventRecord,
    event_records,
    records_without_personal,
    to_lines,
)
from ledger.export.asked import Asked, batches
from ledger.export.parquet import require_pyarrow, write_parquet
from ledger.export.rows import columns, csv_header, csv_rows
from ledger.export.work import Manifest, Progress, Work, digest
from ledger.span import Span
from ledger.store.codec import RecordedEvent
from ledger.store.event_store import EventStore
from ledger.store.keyring import Keyring

CHECKPOINT_BATCHES: Final = 10
"""Batches between two checkpoints: so much is done again after a kill."""


class Export:
    """One export. ``begin``, then ``run``."""

    def __init__(
        self, store: EventStore, keyring: Keyring, asked: Asked, work: Work
    ) -> None:
        self._store = store
        self._keyring = keyring
        self._asked = asked
        self._work = work
        self.progress = _nothing(asked)

    async def begin(self, at: datetime) -> None:
        """Find out what is to be done, or what was left to do.

        Raises:
            InvalidRequest: pyarrow is missing, or the part is another export's.
            PositionMissing, UnknownEvent, StoreUnavailable: as ``Asked.span``.
        """
        if self._asked.format == "parquet":
            require_pyarrow()
        if begun := self._work.begun():
            if not begun.is_of(self.progress):
                raise InvalidRequest(
                    f"{self._work.part} is of another export: finish it with its own "
                    "options, or remove it and what is named like it"
                )
            self.progress = begun
            return
        span = await self._asked.span(self._store)
        self.progress.exported_at = at.astimezone(UTC).isoformat()
        self.progress.ledger_position = await self._store.last_position()
        self.progress.after = self.progress.position = span.after
        self.progress.until = span.until

    @property
    def span(self) -> Span:
        """What is left to read of the ledger."""
        return Span(Position(self.progress.position), Position(self.progress.until))

    async def run(self, advance: Callable[[int], None]) -> Manifest:
        """Write the rest, and show the file and its manifest.

        An error before the first event leaves no part, so that another command may be
        given for the same file.

        ``advance`` is told how much more of the ledger has been passed.

        Raises:
            InvalidRequest: the file cannot be written.
            NotFound: the number was never seen.
            SealBroken, KeyMissing, MasterKeyMissing: something cannot be opened.
            PositionMissing, UnknownEvent, StoreUnavailable: as ``Span.next_batch``.
        """
        with self._work.open(self.progress) as file:
            try:
                await self._write(file, advance)
            except LedgerError:
                if not self.progress.count:
                    self._work.give_up()
                raise
            product = self._work.part
            if self._asked.format == "parquet":
                product = product.with_suffix(".part.parquet")
                write_parquet(self._work.part, product, self.progress.columns)
            manifest = _manifest(self.progress, self._work)
            manifest |= {"bytes": product.stat().st_size, "sha256": digest(product)}
            self._work.finish(product, manifest)
        return manifest

    async def _write(self, file: IO[bytes], advance: Callable[[int], None]) -> None:
        progress = self.progress
        if not progress.bytes and self._asked.format == "csv":
            file.write(csv_header(progress.columns))
        self._work.checkpoint(file, progress)
        parts = batches(self._store, self._keyring, self._asked.number, self.span)
        written = 0
        async for recorded in parts:
            file.write(self._encoded(await self._records(recorded)))
            if progress.first_position is None:
                progress.first_position = recorded[0].position
            read = recorded[-1].position - progress.position
            progress.position = progress.last_position = recorded[-1].position
            progress.count += len(recorded)
            written += 1
            if written % CHECKPOINT_BATCHES == 0:
                self._work.checkpoint(file, progress)
            advance(read)
        if rest := progress.until - progress.position:
            advance(rest)
        progress.position = progress.until
        self._work.checkpoint(file, progress)

    async def _records(self, recorded: Sequence[RecordedEvent]) -> list[EventRecord]:
        if self._asked.without_personal:
            return records_without_personal(recorded)
        return await event_records(self._keyring, recorded)

    def _encoded(self, records: Sequence[EventRecord]) -> bytes:
        if self._asked.format == "csv":
            return csv_rows(self.progress.columns, records)
        return to_lines(records)


def _nothing(asked: Asked) -> Progress:
    return Progress(
        asked=asked.shown(),
        format=asked.format,
        columns=columns(without_personal=asked.without_personal),
        exported_at="",
        ledger_position=0,
        after=0,
        until=0,
        position=0,
    )


def _manifest(progress: Progress, work: Work) -> Manifest:
    return {
        "file": work.output.name,
        "format": progress.format,
        "asked": progress.asked,
        "after": progress.after,
        "until": progress.until,
        "firstPosition": progress.first_position,
        "lastPosition": progress.last_position,
        "count": progress.count,
        "ledgerPosition": progress.ledger_position,
        "exportedAt": progress.exported_at,
    }
