"""``consent-ledger export``: the ledger as a file, or what it has on a person."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated
from uuid import UUID

import orjson
import typer

from ledger.cli.people import actor
from ledger.cli.setup import Ledger, read_settings, with_ledger
from ledger.domain.ids import Position
from ledger.errors import InvalidRequest
from ledger.export.asked import Asked, Format
from ledger.export.export import Export
from ledger.export.work import Manifest, Work
from ledger.logs import configure_logging
from ledger.progress import shown_progress
from ledger.reads import record_begun, record_read
from ledger.subject_export import SubjectExport, export_subject

export_app = typer.Typer()

_ROUTE = "consent-ledger export"
_INTERRUPTED = 130


@export_app.command("export")
def export(  # noqa: PLR0913 - each is an option
    *,
    subject: Annotated[
        str | None,
        typer.Option(metavar="NUMBER", help="All data of one person, as JSON."),
    ] = None,
    file_format: Annotated[
        Format | None, typer.Option("--format", help="Events, in which format.")
    ] = None,
    number: Annotated[
        str | None, typer.Option(help="Only events of this number.")
    ] = None,
    first_day: Annotated[
        datetime | None,
        typer.Option("--from", formats=["%Y-%m-%d"], help="First day of recording."),
    ] = None,
    last_day: Annotated[
        datetime | None,
        typer.Option("--to", formats=["%Y-%m-%d"], help="Last day of recording."),
    ] = None,
    after: Annotated[
        int | None, typer.Option(min=0, help="Begin after this position.")
    ] = None,
    until: Annotated[
        int | None, typer.Option(min=0, help="End with this position.")
    ] = None,
    without_personal: Annotated[
        bool, typer.Option("--without-personal", help="Leave out what is sealed.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option(help="A new file; only its owner reads it.")
    ] = None,
) -> None:
    """Write events, or everything about one person, to a file."""
    if subject is not None:
        if any((file_format, number, first_day, last_day, after, until)):
            raise InvalidRequest("--subject goes with --output alone")
        _export_subject(subject, output)
        return
    if file_format is None or output is None:
        raise InvalidRequest("give --format and --output, or --subject")
    asked = Asked(
        format=file_format,
        number=number,
        first_day=first_day and first_day.date(),
        last_day=last_day and last_day.date(),
        after=None if after is None else Position(after),
        until=None if until is None else Position(until),
        without_personal=without_personal,
    )
    manifest = _export_events(asked, Work(output))
    typer.echo(f"{manifest['count']} events in {output}, {output}.manifest.json")


def _export_events(asked: Asked, work: Work) -> Manifest:
    configure_logging(read_settings().log_level)
    if finished := work.finished():
        return finished

    async def run(ledger: Ledger) -> Manifest:
        making = Export(ledger.store, ledger.keyring, asked, work)
        await making.begin(datetime.now(UTC))
        left, known = making.span, making.progress.count
        if left.count:
            record_begun(actor(), _ROUTE, after=left.after, until=left.until)
        try:
            with shown_progress("events", left.count) as advance:
                return await making.run(advance)
        finally:
            if count := making.progress.count - known:
                reached = Position(making.progress.last_position or 0)
                record_read(actor(), _ROUTE, count, after=left.after, until=reached)

    try:
        return with_ledger(run)
    except KeyboardInterrupt:
        typer.echo("stopped: the same command goes on from there", err=True)
        raise typer.Exit(_INTERRUPTED) from None
    except OSError as error:  # the database's are StoreUnavailable
        raise InvalidRequest(
            f"cannot write {work.output}: {error.strerror}; the same command goes on"
        ) from error


def _export_subject(subject: str, output: Path | None) -> None:
    configure_logging(read_settings().log_level)

    async def run(ledger: Ledger) -> SubjectExport:
        at = datetime.now(UTC)
        return await export_subject(ledger.store, ledger.keyring, subject, at=at)

    found = with_ledger(run)
    options = orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE
    written = orjson.dumps(found, option=options)
    if output is None:
        typer.echo(written, nl=False)
    else:
        _write(output, written)
    for generation in found["subjects"]:
        who = UUID(generation["subjectId"])
        events = [e for e in found["events"] if e["subjectId"] == str(who)]
        record_read(actor(), _ROUTE, len(events), subject_id=who)


def _write(path: Path, content: bytes) -> None:
    """Into a new file that only its owner reads, since it is about a person."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise InvalidRequest(f"cannot write {path}: {error.strerror}") from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
