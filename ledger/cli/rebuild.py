"""``consent-ledger rebuild``: a projection anew, beside the version that serves.

Every way in which a version begins, answers, or goes away.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import orjson
import typer

from ledger.cli.people import actor
from ledger.cli.setup import AsJson, Ledger, with_ledger
from ledger.errors import InvalidRequest
from ledger.progress import Advance, shown_progress
from ledger.store.subscription import Doorbell
from projections.rebuild import alone, cancel, drop_old, go_back
from projections.rebuilding import Rebuilt, Work, rebuild
from projections.registry import NAMES
from projections.worker import Means

rebuild_app = typer.Typer()

Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="NAME...", help=f"Of {', '.join(NAMES)}; all, if left out."),
]


@rebuild_app.command("rebuild")
def rebuild_command(  # noqa: PLR0913 - a command's options are its arguments
    names: Names = None,
    *,
    processes: Annotated[
        int | None,
        typer.Option(min=1, max=64, help="How many fill; as many as there are cores."),
    ] = None,
    accept: Annotated[
        str | None,
        typer.Option(metavar="REPORT-ID", help="Let just these numbers become in."),
    ] = None,
    back: Annotated[
        bool, typer.Option("--back", help="Let the version before answer again.")
    ] = False,
    is_drop: Annotated[
        bool, typer.Option("--drop-old", help="Drop the versions that do not answer.")
    ] = False,
    is_cancel: Annotated[
        bool, typer.Option("--cancel", help="Stop, and forget what is being built.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Build a projection anew from the events, compare, and switch to it."""
    if back + is_drop + is_cancel > 1 or (accept and (back or is_drop or is_cancel)):
        raise InvalidRequest("--accept, --back, --drop-old and --cancel stand alone")
    wanted = list(dict.fromkeys(names or NAMES))
    if back or is_drop or is_cancel:
        done = [_change(name, back=back, is_drop=is_drop) for name in wanted]
    else:
        done = _rebuild(wanted, processes, accept)
    for told in done:
        if as_json:
            typer.echo(orjson.dumps(told).decode())
        else:
            typer.echo("; ".join(f"{name} {value}" for name, value in told.items()))


def _change(name: str, *, back: bool, is_drop: bool) -> dict[str, Any]:
    async def run(ledger: Ledger) -> dict[str, Any]:
        async with ledger.pool.acquire() as connection:
            if back:
                was, now = await go_back(connection, name, actor())
                return {"projection": name, "from": was, "serving": now}
            if is_drop:
                async with alone(ledger.dsn, name):
                    dropped = await drop_old(connection, name)
                return {"projection": name, "dropped": dropped}
            return {"projection": name, "cancelled": await cancel(connection, name)}

    return with_ledger(run)


def _rebuild(
    names: list[str], processes: int | None, accepted: str | None
) -> list[dict[str, Any]]:
    async def run(ledger: Ledger) -> list[dict[str, Any]]:
        bell = Doorbell(
            ledger.dsn,
            "projections_advanced",
            poll_seconds=ledger.settings.poll_seconds,
        )
        means = Means(ledger.pool, ledger.store, ledger.keyring, bell, ledger.settings)
        count = processes or os.cpu_count() or 1
        async with bell:
            with _shown(", ".join(names)) as shown:
                work = Work(ledger.dsn, means, count, actor(), accepted, shown)
                return [_told(rebuilt) for rebuilt in await rebuild(names, work)]

    return with_ledger(run)


@contextmanager
def _shown(what: str) -> Iterator[Any]:
    """Show how far it is: a bar, or lines, for the events that are folded."""
    bars: list[Any] = []
    advance: Advance | None = None
    before = 0

    def shown(phase: str, done: int, total: int) -> None:
        nonlocal advance, before
        if phase != "filling":
            typer.echo(f"{what}: {phase}", err=True)
            return
        if advance is None:
            bars.append(shown_progress(f"{what}: events", total))
            advance = bars[0].__enter__()
        advance(done - before)
        before = done

    try:
        yield shown
    finally:
        for bar in bars:
            bar.__exit__(None, None, None)


def _told(rebuilt: Rebuilt) -> dict[str, Any]:
    target, compared, position = rebuilt
    return {
        "projection": target.live.name,
        "from": target.serving.version,
        "serving": target.live.version,
        "position": position,
        "report": compared.report_id,
        "changes": {
            f"{change.was} to {change.becomes}": change.numbers
            for change in compared.changes
        },
    }
