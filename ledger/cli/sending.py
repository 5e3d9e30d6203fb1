"""``consent-ledger settle``: what sending has left open, seen to once; for a timer."""

from collections import Counter
from typing import TYPE_CHECKING, Annotated

import orjson
import typer

from ledger.cli.setup import AsJson, Ledger, with_ledger
from ledger.command_handler import CommandHandler
from ledger.twilio.account import open_account

if TYPE_CHECKING:
    from ledger.sending.follower import Open

sending_app = typer.Typer()

_SHOWN = {
    "sent": "were sent",
    "not_sent": "were not sent",
    "unknown": "cannot be told",
    "canceled": "scheduled, and canceled",
    "too_late": "scheduled, and gone before they were canceled",
}


@sending_app.command()
def settle(
    *,
    at_once: Annotated[
        bool,
        typer.Option(
            "--at-once",
            help="Do not wait LEDGER_SETTLE_SECONDS: only where no service runs.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Ask Twilio what became of texts, and cancel those to whoever opted out."""

    async def run(ledger: Ledger) -> "tuple[Counter[str], Open]":
        # Not before: with these comes the library of metrics, which ``serve`` must not
        # have met before it has a folder for the counts of its processes.
        from ledger.sending.follower import Follower  # noqa: PLC0415
        from ledger.sending.settling import Tools  # noqa: PLC0415

        settings = ledger.settings
        handler = CommandHandler(ledger.store, ledger.keyring, settings)
        async with handler, open_account(settings) as account:
            tools = Tools(
                handler,
                ledger.store,
                ledger.keyring,
                account,
                settings.send_seconds_max,
            )
            follower = Follower(
                ledger.pool, tools, settle_seconds=settings.settle_seconds
            )
            done = await follower.run_once(at_once=at_once)
            # What was found to be scheduled may be somebody's who has opted out.
            return done + await follower.run_once(), follower.open

    done, still_open = with_ledger(run)
    _print(done, still_open, as_json=as_json)
    if still_open.unsettled:
        raise typer.Exit(1)


def _print(done: Counter[str], still_open: "Open", *, as_json: bool) -> None:
    if as_json:
        answer = {name: done[name] for name in _SHOWN} | still_open._asdict()
        typer.echo(orjson.dumps(answer).decode())
        return
    for name, shown in _SHOWN.items():
        if done[name]:
            typer.echo(f"{done[name]:>6} {shown}")
    typer.echo(f"{still_open.unsettled:>6} are to be settled still")
    typer.echo(f"{still_open.scheduled:>6} are scheduled")
