"""``consent-ledger check`` and ``receipt``: a whole file of numbers, and its evidence.

All rows are answered as of one position, the ledger's at the start, without a
transaction that lasts as long as the file: the history is asked for what stood up to
that position, which is the same however late it is asked. Never keeps more than some
thousand rows. The output has its name once it is whole, and recorded where it is to be.
"""

import asyncio
import itertools
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated, Final

import orjson
import typer

from ledger.api.check_reader import (
    CheckQuestion,
    check_times,
    read_checkpoint,
    read_said,
)
from ledger.api.checks import Result, item_of, result_of
from ledger.api.point_in_time import moments_in
from ledger.api.serving import Serving
from ledger.checked_file import ADDED, INVALID_ROW, RECEIPT_ADDED, Row, Table, salt_in
from ledger.cli.people import actor
from ledger.cli.setup import AsJson, Ledger, with_ledger
from ledger.domain.ids import Position, Sender
from ledger.errors import InvalidRequest, NotYetProjected
from ledger.given_numbers import check_region
from ledger.progress import Advance, shown_progress
from ledger.reads import record_read
from ledger.receipts import (
    Checked,
    Digest,
    Kept,
    find_receipt,
    keep_receipt,
    new_receipt,
)
from ledger.store.database import translated

check_app = typer.Typer()

_HISTORY: Final = "consent_history"
_ROWS_AT_ONCE: Final = 5_000
_PIECE_BYTES: Final = 1_048_576
_POLL_SECONDS: Final = 0.05

InputFile = Annotated[
    Path, typer.Argument(exists=True, dir_okay=False, help="A CSV file with a header.")
]
SavedFile = Annotated[
    Path | None, typer.Option(exists=True, dir_okay=False, help="As it was saved.")
]


@dataclass(slots=True)
class Summary:
    """What became of a file."""

    position: Position
    rows: int = 0
    malformed: int = 0
    receipt: str | None = None


@check_app.command()
def check(  # noqa: PLR0913 - each is an option of the command
    file: InputFile,
    *,
    output: Annotated[
        Path | None,
        typer.Option(help="A new file for it; else it goes to standard output."),
    ] = None,
    sender: Annotated[
        str | None, typer.Option(help="Ask for one sender; else for all together.")
    ] = None,
    as_of: Annotated[
        str | None, typer.Option(help="Ask what held at a time, or on a day.")
    ] = None,
    known_at: Annotated[
        str | None, typer.Option(help="Use only what was recorded by then.")
    ] = None,
    tz: Annotated[
        str | None, typer.Option(help="The time zone of a day, such as Europe/Paris.")
    ] = None,
    region: Annotated[
        str | None, typer.Option(help="Where national numbers are of, such as US.")
    ] = None,
    column: Annotated[
        str | None, typer.Option(help="The column of the numbers, by its name.")
    ] = None,
    record: Annotated[
        bool, typer.Option("--record", help="Keep a receipt in the ledger.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write a file back with what each of its numbers says; exit 1 if one is none."""
    if (record or as_json) and output is None:
        raise InvalidRequest("name a file with --output: its bytes are what counts")
    times = {"asOf": as_of, "knownAt": known_at, "tz": tz}
    moments = moments_in({n: v for n, v in times.items() if v is not None})
    question = CheckQuestion(Sender(sender) if sender else None, *(moments or ()))
    region = check_region(region) if region else None

    async def run(ledger: Ledger) -> Summary:
        with file.open("rb") as source, _written(output) as target:
            job = _Job(ledger, question, region, source, target)
            return await job.run(column, _count_rows(file), is_recorded=record)

    _say(with_ledger(run), as_json=as_json)


@check_app.command()
def receipt(
    receipt_id: Annotated[str, typer.Argument(help="Its id, from the answer.")],
    *,
    answer: SavedFile = None,
    request: SavedFile = None,
    as_json: AsJson = False,
) -> None:
    """Show what a receipt says, and whether saved files are what it is of."""
    if request is not None and answer is None:
        raise InvalidRequest("give --answer too: the salt in it belongs to the request")

    async def run(ledger: Ledger) -> Kept:
        kept = await find_receipt(ledger.store, receipt_id)
        record_read(actor(), "receipt", 1, position=kept.position)
        return kept

    kept = with_ledger(run)
    matches: dict[str, bool] = {}
    if answer is not None:
        matches["answer"] = _digest_of(answer, Digest()).matches(kept.event)
    if request is not None and answer is not None:
        with answer.open("rb") as saved:
            salt = salt_in(saved)
        matches["request"] = _digest_of(request, Digest(salt)).matches(kept.event)
    _show(kept, matches, as_json=as_json)
    if not all(matches.values()):
        raise typer.Exit(1)


class _Job:
    """One file."""

    def __init__(
        self,
        ledger: Ledger,
        question: CheckQuestion,
        region: str | None,
        source: IO[bytes],
        target: IO[bytes],
    ) -> None:
        self._ledger = ledger
        self._serving = Serving(ledger.pool)
        self._question = question
        self._region = region
        self._source = source
        self._target = target
        self._receipt = new_receipt()
        self._request, self._answer = Digest(self._receipt.salt), Digest()

    async def run(
        self, column: str | None, rows_about: int, *, is_recorded: bool
    ) -> Summary:
        """Answer every row."""
        table = Table(self._lines(), column)
        summary = Summary(await self._start())
        key = [str(self._receipt.id), self._receipt.salt] if is_recorded else []
        self._write(table.header([*ADDED, *(RECEIPT_ADDED if is_recorded else ())]))
        with shown_progress("check", rows_about) as advance:
            async for row, cells in self._answered(table, summary, advance):
                # The receipt is one for all, and stands in the first row.
                self._write(
                    row
                    if isinstance(row, bytes)
                    else table.with_cells(row, [*cells, *key])
                )
                if not isinstance(row, bytes):
                    key = [""] * len(key)
        if is_recorded:
            await self._keep(summary)
        return summary

    async def _start(self) -> Position:
        """The ledger's position, once the history has reached it.

        Raises:
            FutureMoment: a time has not come.
            NotYetProjected: the history has not reached it in time.
        """
        with translated():
            stand = await read_checkpoint(self._serving, _HISTORY)
        check_times(self._question, stand.now)
        position = stand.ledger_position
        ends = time.monotonic() + self._ledger.settings.wait_seconds_max
        while stand.reached < position:
            if time.monotonic() > ends:
                raise NotYetProjected(
                    f"{_HISTORY} has not reached position {position}: is "
                    "`consent-ledger serve` or `project` running?"
                )
            await asyncio.sleep(_POLL_SECONDS)
            with translated():
                stand = await read_checkpoint(self._serving, _HISTORY)
        return position

    async def _answered(
        self, table: Table, summary: Summary, advance: Advance
    ) -> AsyncIterator[tuple[Row | bytes, Sequence[object]]]:
        """The rows, each with the cells that are to be added."""
        identity = await self._ledger.keyring.identity()
        rows = table.rows()
        while batch := list(itertools.islice(rows, _ROWS_AT_ONCE)):
            items = {
                i: item_of(row.given, self._region)
                for i, row in enumerate(batch)
                if isinstance(row, Row) and row.given is not None
            }
            numbers = [item.number for item in items.values() if item.number]
            with translated():
                said = await read_said(
                    self._serving, identity, numbers, self._question, summary.position
                )
            for i, row in enumerate(batch):
                if isinstance(row, bytes):
                    yield row, ()
                    continue
                result = result_of(items[i], said) if i in items else _INVALID
                summary.rows += 1
                summary.malformed += result.get("error") is not None
                yield row, _cells(result)
            advance(len(batch))

    async def _keep(self, summary: Summary) -> None:
        """Durable before the output has its name."""
        checked = Checked(
            sender=self._question.sender,
            as_of=self._question.as_of,
            known_at=self._question.known_at,
            region=self._region,
            read_position=summary.position,
            numbers=summary.rows,
            actor=actor(),
        )
        await keep_receipt(
            self._ledger.store,
            self._receipt,
            checked,
            request=self._request,
            answer=self._answer,
        )
        summary.receipt = str(self._receipt.id)

    def _lines(self) -> Iterator[bytes]:
        for line in self._source:
            self._request.update(line)
            yield line

    def _write(self, data: bytes) -> None:
        self._target.write(data)
        self._answer.update(data)


_INVALID: Final[Result] = {
    "status": None,
    "position": None,
    "since": None,
    "phoneNumber": None,
    "error": INVALID_ROW,
}


def _cells(result: Result) -> Sequence[object]:
    """In the order of the columns that are added."""
    since = result["since"]
    return (
        result["status"],
        result["position"],
        since and since.isoformat().replace("+00:00", "Z"),
        result["phoneNumber"],
        result.get("error"),
        "true" if result.get("erased") else None,
    )


@contextmanager
def _written(output: Path | None) -> Iterator[IO[bytes]]:
    """Where to write: a new file has its name once it is whole, or there is none."""
    if output is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    try:
        if output.exists():
            raise FileExistsError(0, "it is there already")
        descriptor, aside = tempfile.mkstemp(f".{output.name}", dir=output.parent)
    except OSError as error:
        raise InvalidRequest(f"cannot write {output}: {error.strerror}") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.link(aside, output)
    except FileExistsError:
        raise InvalidRequest(f"{output} has been made by another") from None
    finally:
        Path(aside).unlink()


def _count_rows(file: Path) -> int:
    """About how many rows there are, for who waits."""
    with file.open("rb") as source:
        pieces = iter(lambda: source.read(_PIECE_BYTES), b"")
        return max(sum(piece.count(b"\n") for piece in pieces) - 1, 0)


def _digest_of(file: Path, digest: Digest) -> Digest:
    with file.open("rb") as source:
        for piece in iter(lambda: source.read(_PIECE_BYTES), b""):
            digest.update(piece)
    return digest


def _say(summary: Summary, *, as_json: bool) -> None:
    if as_json:
        typer.echo(orjson.dumps(summary).decode())
    else:
        kept = f", receipt {summary.receipt}" if summary.receipt else ""
        typer.echo(
            f"{summary.rows} rows, {summary.malformed} without a number, "
            f"at position {summary.position}{kept}",
            err=True,
        )
    if summary.malformed:
        raise typer.Exit(1)


def _show(kept: Kept, matches: dict[str, bool], *, as_json: bool) -> None:
    event = kept.event
    shown = {
        "receipt": str(event.originator_id),
        "position": kept.position,
        "recordedAt": event.recorded_at.isoformat(),
        "actor": event.actor,
        "sender": event.sender,
        "asOf": event.as_of and event.as_of.isoformat(),
        "knownAt": event.known_at and event.known_at.isoformat(),
        "region": event.region,
        "readPosition": event.read_position,
        "numbers": event.numbers,
        "requestDigest": event.request_digest,
        "answerDigest": event.answer_digest,
        **{f"{name}Matches": value for name, value in matches.items()},
    }
    if as_json:
        typer.echo(orjson.dumps(shown).decode())
        return
    for name, value in shown.items():
        typer.echo(f"{name:<15} {'-' if value is None else value}")
