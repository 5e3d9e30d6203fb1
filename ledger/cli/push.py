"""``consent-ledger push-consents``: tell Twilio what people say now."""

from collections.abc import Iterator
from typing import Annotated, Any, Final, NamedTuple

import orjson
import typer

from ledger.cli.backfill import OfAccount
from ledger.cli.imports import INTERRUPTED, stopping_by_ctrl_c
from ledger.cli.setup import AsJson, Ledger, with_ledger
from ledger.command_handler import CommandHandler
from ledger.errors import LedgerError, StoreUnavailable, TwilioUnavailable
from ledger.progress import shown_progress
from ledger.pushing.pushes import Pushed, Pushes
from ledger.pushing.senders import senders_of
from ledger.pushing.wishes import Why
from ledger.twilio.account import open_account
from ledger.twilio.consents import Consents

push_app = typer.Typer()

_HELD: Final[dict[Why, str]] = {
    "stop": "in, but Twilio holds a STOP: only the person's own START lifts it",
    "tollFree": "in, to a toll-free number that was told STOP: only START lifts it",
    "lapsed": "unknown: the consent has lapsed, and Twilio has no word for it",
    "notANumber": "not E.164",
    "otherSender": "said to a sender that the account does not have",
}


class Done(NamedTuple):
    """What came of it."""

    pushed: Pushed
    calls: int
    is_whole: bool
    error: LedgerError | None


@push_app.command("push-consents")
def push_consents(
    account: OfAccount = None,
    *,
    everybody: Annotated[
        bool, typer.Option("--all", help="Look at everybody, changed or not.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be told, and stop.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Tell Twilio's Consent API what has changed since it was last told."""
    done = with_ledger(
        lambda ledger: pushed(ledger, account, everybody=everybody, dry_run=dry_run)
    )
    if as_json:
        typer.echo(orjson.dumps(report_of(done, dry_run=dry_run)).decode())
    else:
        for line in _lines(done, dry_run=dry_run):
            typer.echo(line)
    if done.error is not None:
        raise done.error
    if not done.is_whole:
        raise typer.Exit(INTERRUPTED)
    if done.pushed.refused:
        raise typer.Exit(1)


async def pushed(
    ledger: Ledger, account_sid: str | None, *, everybody: bool, dry_run: bool
) -> Done:
    """Tell Twilio, or find out what it would be told."""
    handler = CommandHandler(ledger.store, ledger.keyring, ledger.settings)
    position = await ledger.store.last_position()
    is_whole = False
    error: LedgerError | None = None
    async with open_account(ledger.settings, account_sid) as account:
        consents = Consents(account)
        pushes = Pushes(
            ledger.pool,
            ledger.store,
            ledger.keyring,
            handler,
            account_sid=account.sid,
            senders=await senders_of(account),
            consents=None if dry_run else consents,
        )
        with (
            stopping_by_ctrl_c() as stopping,
            shown_progress("push, events", position) as advance,
        ):
            try:
                is_whole = await pushes.run(
                    advance, stopping.is_set, everybody=everybody
                )
            except (StoreUnavailable, TwilioUnavailable) as outage:
                error = outage
    return Done(pushes.pushed, consents.calls, is_whole, error)


def report_of(done: Done, *, dry_run: bool) -> dict[str, Any]:
    """What came of it, for a script."""
    one = done.pushed
    return {
        "dryRun": dry_run,
        "complete": done.is_whole,
        "position": one.position,
        "told": {"in": one.told["in"], "out": one.told["out"]},
        "refused": {str(code): count for code, count in one.refused.items()},
        "held": {why: one.held[why] for why in _HELD},
        "unchanged": one.unchanged,
        "calls": done.calls,
    }


def _lines(done: Done, *, dry_run: bool) -> Iterator[str]:
    one = done.pushed
    would = "would be told" if dry_run else "told"
    told = one.told
    yield f"{told['out']} out and {told['in']} in {would}, in {done.calls} calls"
    yield f"{one.unchanged} that Twilio was told before"
    for why, meaning in _HELD.items():
        if one.held[why]:
            yield f"{one.held[why]} not told: {meaning}"
    for code, count in one.refused.most_common():
        yield f"{count} refused with {code}; they are tried again the next time"
    if not done.is_whole and done.error is None:
        yield "stopped; the same command goes on"
