"""``consent-ledger export``: what the ledger has on a person."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import orjson
import typer

from ledger.cli.setup import Ledger, with_ledger
from ledger.errors import InvalidRequest
from ledger.subject_export import SubjectExport, export_subject

subject_export_app = typer.Typer()


@subject_export_app.command("export")
def export(
    subject: Annotated[
        str, typer.Option(metavar="NUMBER", help="Whose data, as +14155550100.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(help="A new file for it; else it goes to standard output."),
    ] = None,
) -> None:
    """Write everything that the ledger has on one number, as JSON."""

    async def run(ledger: Ledger) -> SubjectExport:
        at = datetime.now(UTC)
        return await export_subject(ledger.store, ledger.keyring, subject, at=at)

    options = orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE
    written = orjson.dumps(with_ledger(run), option=options)
    if output is None:
        typer.echo(written, nl=False)
    else:
        _write(output, written)


def _write(path: Path, content: bytes) -> None:
    """Into a new file that only its owner reads, since it is about a person."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise InvalidRequest(f"cannot write {path}: {error.strerror}") from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
