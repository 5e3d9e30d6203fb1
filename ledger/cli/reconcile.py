"""``consent-ledger reconcile``: where the ledger and Twilio have drifted apart."""

from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from typing import Annotated, Any, Final, NamedTuple

import orjson
import typer

from ledger.cli.backfill import Asked, OfAccount, Service, To, asked_for, scope_of
from ledger.cli.imports import INTERRUPTED, stopping_by_ctrl_c
from ledger.cli.people import actor
from ledger.cli.setup import AsJson, Ledger, with_ledger
from ledger.command_handler import CommandHandler
from ledger.errors import LedgerError, StoreUnavailable, TwilioUnavailable
from ledger.imports.rereading import Rereading
from ledger.imports.sinks import Foresight, Once, Recording
from ledger.imports.walk import Arrivals, InOrder, Nowhere, Walk, Walked
from ledger.lapses import Lapses
from ledger.message_log import MessageLog
from ledger.progress import shown_progress
from ledger.reconciling import KINDS, Deactivations, Drift, Kind
from ledger.twilio.account import open_account

reconcile_app = typer.Typer()

DAYS: Final = 3
"""How far back it looks unless it is told: a weekend."""

_MEANING: Final[dict[Kind, str]] = {
    "stop": "texts that say stop, and are not in the ledger",
    "start": "texts that say start, and are not in the ledger",
    "blocked": "messages that Twilio refused with 21610, and the ledger has not heard",
    "deactivated": "numbers that are in, and were deactivated",
}


class Done(NamedTuple):
    """What came of it."""

    drift: Drift
    walked: Walked
    is_whole: bool
    error: LedgerError | None


@reconcile_app.command()
def reconcile(  # noqa: PLR0913 - one parameter an option
    since: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"],
            help=f"The first day in UTC; {DAYS} days ago unless it is given.",
        ),
    ] = None,
    to: To = None,
    service: Service = None,
    account: OfAccount = None,
    *,
    record: Annotated[
        bool, typer.Option("--record", help="Record what is missing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compare the ledger with what Twilio shows; exit 1 if they differ."""
    begin = since or datetime.combine(
        datetime.now(UTC).date() - timedelta(days=DAYS), time.min
    )
    asked = asked_for(begin, to, service, account)
    by = actor() if record else None
    done = with_ledger(lambda ledger: reconciled(ledger, asked, by))
    if as_json:
        typer.echo(orjson.dumps(report_of(asked, done, by)).decode())
    else:
        for line in _lines(done, by):
            typer.echo(line)
    if done.error is not None:
        raise done.error
    if not done.is_whole:
        raise typer.Exit(INTERRUPTED)
    if done.drift.counts:
        raise typer.Exit(1)


async def reconciled(ledger: Ledger, asked: Asked, by: str | None) -> Done:
    """Compare, and record as ``by`` what is missing; None to record nothing."""
    handler = CommandHandler(ledger.store, ledger.keyring, ledger.settings)
    log = MessageLog(handler, ledger.store, ledger.keyring)
    is_keeping = by is not None and ledger.settings.record_messages
    arrivals = Arrivals() if is_keeping else None
    recording = Recording(handler, Once(), *([arrivals.of] if arrivals else []))
    sink = recording if by is not None else Foresight(handler, Once())
    in_order = InOrder(sink, handler, ledger.store)
    reread = Rereading(in_order, handler, ledger.store, ledger.keyring)
    drift = Drift()
    days = (datetime.now(UTC).date() - asked.since).days + 1
    is_whole = False
    error: LedgerError | None = None
    async with open_account(ledger.settings, asked.account) as account:
        scope = await scope_of(account, asked)
        vocabulary = ledger.settings.vocabulary()
        walk = Walk(account, scope, vocabulary, reread, log, arrivals)
        lapses = Lapses(ledger.store, handler)
        lists = Deactivations(account, lapses, ledger.settings, drift, by)
        with (
            stopping_by_ctrl_c() as stopping,
            shown_progress("reconcile, days", 2 * days) as advance,
        ):
            try:
                await walk.run(asked.since, Nowhere(), stopping, advance, drift.meet)
                is_whole = await lists.run(asked.since, stopping, advance)
            except (StoreUnavailable, TwilioUnavailable) as outage:
                error = outage
    return Done(drift, walk.walked, is_whole, error)


def report_of(asked: Asked, done: Done, by: str | None) -> dict[str, Any]:
    """What came of it, for a script."""
    drift = done.drift
    return {
        "since": asked.since,
        "recorded": by is not None,
        "complete": done.is_whole,
        "messages": done.walked.tally.rows,
        "deactivatedNumbers": drift.listed,
        "unreadableLines": drift.unreadable,
        "daysWithoutList": drift.days_without_list,
        "refused": dict(done.walked.tally.refused),
        "drift": {kind: drift.counts[kind] for kind in KINDS},
        "examples": [
            {
                "kind": one.kind,
                "at": one.at,
                "number": one.number,
                "messageSid": one.message_sid,
            }
            for one in drift.examples
        ],
    }


def _lines(done: Done, by: str | None) -> Iterator[str]:
    drift = done.drift
    yield (
        f"{done.walked.tally.rows} messages and {drift.listed} deactivated numbers "
        "compared"
    )
    if drift.unreadable:
        yield f"! {drift.unreadable} lines of the lists are no US number"
    for code, count in done.walked.tally.refused.most_common():
        yield f"! {count} messages cannot be read: {code}"
    for day in drift.days_without_list:
        yield f"no list of deactivations of {day}"
    for kind in KINDS:
        if drift.counts[kind]:
            yield f"{drift.counts[kind]} {_MEANING[kind]}"
    for one in drift.examples:
        sid = f", {one.message_sid}" if one.message_sid else ""
        yield f"  {one.kind}: {one.number}, {one.at:%Y-%m-%d %H:%M:%S} UTC{sid}"
    if not drift.counts and done.is_whole:
        yield "no drift"
    elif drift.counts:
        yield "recorded" if by is not None else "nothing was recorded: --record does"
