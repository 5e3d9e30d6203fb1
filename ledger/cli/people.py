"""Commands about one person's data: erase, hold, release."""

import getpass
from datetime import UTC, date, datetime, time
from typing import Annotated

import orjson
import typer

from ledger.cli.setup import AsJson, Ledger, with_ledger
from ledger.command_handler import CommandHandler
from ledger.domain.ids import typed_number
from ledger.erasure import Erasures

people_app = typer.Typer()

Number = Annotated[str, typer.Argument(help="Whose, as +14155550100.")]
Reason = Annotated[
    str, typer.Option(help="Why, for the ledger; without the number itself.")
]


@people_app.command()
def erase(number: Number, reason: Reason, *, as_json: AsJson = False) -> None:
    """Destroy what is personal of a number; that it is out stays known."""

    async def run(ledger: Ledger) -> dict[str, object]:
        # Not before, as in ``settle``: with it comes the library of metrics.
        from ledger.sending.unscheduling import Unscheduling  # noqa: PLC0415

        given = (ledger.store, ledger.keyring, ledger.settings)
        async with CommandHandler(*given) as handler:
            unschedule = Unscheduling(handler, *given)
            erasures = Erasures(ledger.pool, ledger.store, ledger.keyring, unschedule)
            done = await erasures.erase(
                typed_number(number), reason=reason, actor=actor()
            )
        return {"erased": True, "status": done.status, "position": done.position}

    _print(with_ledger(run), as_json=as_json)


@people_app.command()
def hold(
    number: Number,
    until: Annotated[
        datetime,
        typer.Option(formats=["%Y-%m-%d"], help="The last day of the hold, in UTC."),
    ],
    reason: Reason,
    *,
    as_json: AsJson = False,
) -> None:
    """Place a legal hold: nothing of a number is erased until it ends."""

    async def run(ledger: Ledger) -> dict[str, object]:
        erasures = _erasures(ledger)
        end = _end_of(until.date())
        position = await erasures.hold(
            typed_number(number), until=end, reason=reason, actor=actor()
        )
        return {"heldUntil": end.isoformat(), "position": position}

    _print(with_ledger(run), as_json=as_json)


@people_app.command()
def release(number: Number, reason: Reason, *, as_json: AsJson = False) -> None:
    """Release a legal hold before its end."""

    async def run(ledger: Ledger) -> dict[str, object]:
        erasures = _erasures(ledger)
        position = await erasures.release(
            typed_number(number), reason=reason, actor=actor()
        )
        return {"heldUntil": None, "position": position}

    _print(with_ledger(run), as_json=as_json)


def _erasures(ledger: Ledger) -> Erasures:
    return Erasures(ledger.pool, ledger.store, ledger.keyring)


def _end_of(day: date) -> datetime:
    return datetime.combine(day, time.max, UTC)


def actor() -> str:
    """Who types the command, for the ledger."""
    return f"cli:{getpass.getuser()}"


def _print(answer: dict[str, object], *, as_json: bool) -> None:
    if as_json:
        typer.echo(orjson.dumps(answer).decode())
        return
    for name, value in answer.items():
        typer.echo(f"{name:<12} {value}")
