"""``consent-ledger import``: move in from another system's file."""

import asyncio
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple, cast

import orjson
import typer
from typer.core import TyperGroup

from ledger.cli.people import actor
from ledger.cli.setup import AsJson, Ledger, with_ledger
from ledger.command_handler import CommandHandler
from ledger.domain.ids import EVERY_SENDER, Sender, Status
from ledger.errors import InvalidRequest, StoreUnavailable
from ledger.garbage import collecting_seldom
from ledger.imports.columns import FIELDS, parse_mapping
from ledger.imports.importer import Importer, Reader, Tally
from ledger.imports.interpret import ADDRESS_CHARACTERS_MAX, Interpreter, Rules
from ledger.imports.refusals import opened_report
from ledger.imports.rows import Format, Rows, open_file, read_rows
from ledger.imports.sinks import Foresight, Recording, Repeats, Turned
from ledger.imports.texts import TextInterpreter
from ledger.progress import shown_progress


class FileOrTwilio(TyperGroup):
    """``import FILE`` is a command without a name of its own."""

    unnamed = "file"

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401
        """Whatever does not begin with the name of a command is about a file."""
        if args and args[0] not in self.commands:
            args = [self.unnamed, *args]
        return super().parse_args(ctx, args)


imports_app = typer.Typer(
    cls=FileOrTwilio,
    no_args_is_help=True,
    help="Record what people said elsewhere: in a file, or in Twilio's log.",
)

_SOURCE: Final = re.compile(r"[A-Za-z0-9._@-]{1,100}", re.ASCII)
_File = Annotated[Path, typer.Argument(help="CSV with a header, or NDJSON, in UTF-8.")]
_Refused = Annotated[
    Path | None,
    typer.Option(help="A new file for the rows that are refused; CSV or .ndjson."),
]
_STATUSES: Final = ("in", "out")
_FORMATS: Final = ("csv", "ndjson")
INTERRUPTED: Final = 130


class _Asked(NamedTuple):
    """What the command line says."""

    path: Path
    rules: Rules
    format: Format | None
    texts: bool
    apply: bool
    refused: Path | None


class _Done(NamedTuple):
    """What came of it."""

    tally: Tally
    seconds: float
    turned: Turned | None
    outage: StoreUnavailable | None


@imports_app.command("file")
def import_(  # noqa: PLR0913 - one parameter an option
    file: _File,
    source: Annotated[
        str, typer.Option(help="Where the rows are from, such as hubspot; for ever.")
    ],
    *,
    apply: Annotated[
        bool, typer.Option("--apply", help="Record; else it is a dry run.")
    ] = False,
    refused: _Refused = None,
    status: Annotated[
        str | None, typer.Option(metavar="in|out", help="Of every row.")
    ] = None,
    sender: Annotated[str, typer.Option(help="Of rows without one.")] = EVERY_SENDER,
    occurred_at: Annotated[
        str | None, typer.Option(help="Of rows without a time; a time or a day.")
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD=COLUMN", help=f"A field is one of {', '.join(FIELDS)}."
        ),
    ] = None,
    without: Annotated[
        list[str] | None, typer.Option(help="A column not to keep as evidence.")
    ] = None,
    true: Annotated[
        str | None, typer.Option(metavar="in|out", help="What yes means as a status.")
    ] = None,
    false: Annotated[
        str | None, typer.Option(metavar="in|out", help="What no means as a status.")
    ] = None,
    texts: Annotated[
        bool, typer.Option("--texts", help="It is Twilio's log: what Body says counts.")
    ] = False,
    kind: Annotated[
        str | None,
        typer.Option("--format", metavar="csv|ndjson", help="Else by the first byte."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Record what people said elsewhere, from a file; a dry run unless --apply."""
    columns = parse_mapping(column or ())
    if status and (texts or "status" in columns):
        raise InvalidRequest("--status is of every row: no column or text says another")
    rules = Rules(
        source=_source(source),
        file=file.name,
        actor=actor(),
        status=_status(status),
        sender=_sender(sender),
        occurred_at=occurred_at,
        columns=columns,
        without=frozenset(without or ()),
        true_means=_status(true),
        false_means=_status(false),
    )
    if kind not in (None, *_FORMATS):
        raise InvalidRequest("--format is csv or ndjson")
    asked = _Asked(file, rules, cast("Format | None", kind), texts, apply, refused)
    done = with_ledger(lambda ledger: _run(ledger, asked))
    _print(asked, done, as_json=as_json)
    if done.outage is not None:
        raise StoreUnavailable(f"{done.outage}. {_HOW_TO_GO_ON}") from done.outage
    if not done.tally.is_whole:
        raise typer.Exit(INTERRUPTED)
    if done.tally.refused:
        raise typer.Exit(1)


_HOW_TO_GO_ON: Final = (
    "What is recorded stays; run the same command again to go on: rows that are "
    "recorded already are passed over"
)


async def _run(ledger: Ledger, asked: _Asked) -> _Done:
    handler = CommandHandler(ledger.store, ledger.keyring, ledger.settings)
    repeats = Repeats(ledger.store, ledger.keyring)
    foresight = None if asked.apply else Foresight(handler, repeats)
    sink = foresight or Recording(handler, repeats)
    outage = None
    with open_file(asked.path) as file:
        rows = read_rows(file, asked.format)
        reader = _reader(ledger, asked, rows)
        what = "import, bytes" if asked.apply else "dry run, bytes"
        size = asked.path.stat().st_size
        began = time.monotonic()
        with (
            collecting_seldom(),
            stopping_by_ctrl_c() as stopping,
            opened_report(asked.refused) as report,
            shown_progress(what, size) as advance,
        ):
            importer = Importer(reader, sink, report, advance)
            try:
                await importer.run(rows, stopping)
            except StoreUnavailable as error:
                importer.tally.is_whole = False
                outage = error
    seconds = time.monotonic() - began
    turned = foresight.turned if foresight else None
    return _Done(importer.tally, seconds, turned, outage)


def _reader(ledger: Ledger, asked: _Asked, rows: Rows) -> Reader:
    if asked.texts:
        vocabulary = ledger.settings.vocabulary()
        return TextInterpreter(asked.rules, vocabulary, rows.names)
    return Interpreter(asked.rules, rows.names)


@contextmanager
def stopping_by_ctrl_c() -> Iterator[asyncio.Event]:
    """Set by the first Ctrl-C, so that what is under way ends; a second one kills."""
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()

    def stop() -> None:
        stopping.set()
        loop.remove_signal_handler(signal.SIGINT)

    loop.add_signal_handler(signal.SIGINT, stop)
    try:
        yield stopping
    finally:
        loop.remove_signal_handler(signal.SIGINT)


def _source(given: str) -> str:
    if not _SOURCE.fullmatch(given):
        raise InvalidRequest("--source is 1 to 100 letters, digits and . _ @ -")
    return given


def _sender(given: str) -> Sender:
    if not 0 < len(given) <= ADDRESS_CHARACTERS_MAX or not given.isprintable():
        raise InvalidRequest(
            f"--sender has 1 to {ADDRESS_CHARACTERS_MAX} printable characters"
        )
    return Sender(given)


def _status(given: str | None) -> Status | None:
    if given not in (None, *_STATUSES):
        raise InvalidRequest("--status, --true and --false are in or out")
    return cast("Status | None", given)


def _print(asked: _Asked, done: _Done, *, as_json: bool) -> None:
    answer = _answer(asked, done)
    if as_json:
        typer.echo(orjson.dumps(answer).decode())
        return
    for line in _lines(asked, done):
        typer.echo(line)


def _answer(asked: _Asked, done: _Done) -> dict[str, Any]:
    tally = done.tally
    answer: dict[str, Any] = {
        "dryRun": not asked.apply,
        "complete": tally.is_whole,
        "rows": tally.rows,
        "recorded": tally.recorded,
        "duplicates": tally.duplicates,
        "skipped": dict(tally.skipped),
        "refused": dict(tally.refused),
        "seconds": round(done.seconds, 3),
        "rowsPerSecond": round(tally.rows / max(done.seconds, 1e-9)),
    }
    if done.turned is not None:
        answer["numbers"] = {
            "turnOut": done.turned.out,
            "turnIn": done.turned.into,
            "stay": done.turned.neither,
        }
    return answer


def _lines(asked: _Asked, done: _Done) -> Iterator[str]:
    tally = done.tally
    rate = tally.rows / max(done.seconds, 1e-9)
    yield f"{tally.rows} rows read, {rate:.0f}/s"
    yield f"{tally.recorded} {'recorded' if asked.apply else 'would be recorded'}"
    yield f"{tally.duplicates} recorded before"
    for why, count in tally.skipped.items():
        yield f"{count} passed over: {SKIPPED[why]}"
    for code, count in tally.refused.most_common():
        yield f"{count} refused: {code}"
    if tally.refused and asked.refused:
        yield f"the refused rows are in {asked.refused}"
    if done.turned is not None:
        turned = done.turned
        yield (
            f"numbers: {turned.out} would turn out, {turned.into} in, "
            f"{turned.neither} stay as they are"
        )
    if not tally.is_whole and done.outage is None:
        yield f"stopped. {_HOW_TO_GO_ON}"
    elif not asked.apply:
        yield "nothing was recorded: this was a dry run; --apply records"


SKIPPED: Final = {
    "otherEvent": "not about consent",
    "destroyed": "the number was erased",
    "otherDirection": "not from a person",
    "saysNothing": "says nothing about consent",
    "bodyGone": "without a body: Twilio has it no more, or it never had one",
}
