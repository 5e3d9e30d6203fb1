"""``consent-ledger replay``: one number's story, or the whole ledger, checked."""

from datetime import UTC, datetime
from typing import Annotated, Final

import orjson
import typer

from ledger.cli.setup import AsJson, Ledger, with_ledger
from ledger.cli.story import lines_of
from ledger.cli.verify import check_and_tell
from ledger.domain.ids import Sender
from ledger.errors import InvalidRequest
from ledger.moments import check_past, parse_moment, parse_zone
from ledger.replay import Moment, Story, as_json, tell
from projections.report import EXAMPLES_MAX

replay_app = typer.Typer()

_WHICH: Final = (
    "say whose story: consent-ledger replay NUMBER; or consent-ledger replay --all "
    "--check for the whole ledger"
)


@replay_app.command()
def replay(  # noqa: PLR0913 - a command's options are its arguments
    number: Annotated[
        str | None, typer.Argument(help="Whose story, as +14155550100.")
    ] = None,
    *,
    as_of: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Stop at what had occurred by then."),
    ] = None,
    known_at: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Stop at what was recorded by then."),
    ] = None,
    tz: Annotated[
        str, typer.Option(metavar="ZONE", help="Where a date without a time ends.")
    ] = "UTC",
    sender: Annotated[
        str | None, typer.Option(help="Only what was said to it, or to every sender.")
    ] = None,
    is_whole: Annotated[
        bool, typer.Option("--all", help="The whole ledger; with --check.")
    ] = False,
    is_check: Annotated[
        bool, typer.Option("--check", help="Compare every row with the events.")
    ] = False,
    examples: Annotated[
        int, typer.Option(min=0, max=100_000, help="How many differences to show.")
    ] = EXAMPLES_MAX,
    as_json: AsJson = False,
) -> None:
    """Tell what a number said; or fold the whole ledger and compare it, row by row."""
    told = (as_of, known_at, sender)
    if number is None and is_whole and is_check and told == (None, None, None):
        check_and_tell((), None, None, examples, is_json=as_json)
    elif number is not None and not (is_whole or is_check):
        moment = _moment(as_of, known_at, tz)
        _tell(number, moment, Sender(sender) if sender else None, is_json=as_json)
    else:
        raise InvalidRequest(_WHICH)


def _tell(number: str, moment: Moment, sender: Sender | None, *, is_json: bool) -> None:
    async def run(ledger: Ledger) -> Story:
        store, keyring = ledger.store, ledger.keyring
        return await tell(store, keyring, number, moment=moment, sender=sender)

    story = with_ledger(run)
    if is_json:
        _print_json(as_json(story))
        return
    for line, is_heading in lines_of(story):
        typer.secho(line, bold=is_heading)


def _print_json(value: object) -> None:
    options = orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z
    typer.echo(orjson.dumps(value, option=options).decode())


def _moment(as_of: str | None, known_at: str | None, zone: str) -> Moment:
    """Up to when, by either clock; None is now."""
    ends = parse_zone(zone)
    moments = [
        None if text is None else parse_moment(text, ends) for text in (as_of, known_at)
    ]
    for moment in moments:
        if moment is not None:
            check_past(moment, datetime.now(UTC))
    return Moment(*moments)
