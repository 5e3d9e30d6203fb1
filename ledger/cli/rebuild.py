"""``consent-ledger rebuild``: a projection anew, beside the version that serves.

Every way in which a version begins, answers, or goes away.
"""

import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from types import TracebackType
from typing import Annotated, Any, Self

import orjson
import typer

from ledger.cli.people import actor
from ledger.cli.setup import AsJson, Ledger, with_ledger
from ledger.errors import InvalidRequest, NotFound
from ledger.progress import Advance, shown_progress
from ledger.store.database import connect
from ledger.store.subscription import Doorbell
from projections.likeness import Comparison
from projections.rebuild import Target, alone, cancel, drop_old
from projections.rebuilding import Told, Work, rebuild
from projections.registry import NAMES
from projections.switching import Approval, Switched, go_back
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
    if back + is_drop + is_cancel > 1 or (accept and (is_drop or is_cancel)):
        raise InvalidRequest("--back, --drop-old and --cancel stand alone")
    wanted = list(dict.fromkeys(names or NAMES))
    if is_drop:
        done: Iterable[dict[str, Any]] = [_drop_old(name) for name in wanted]
    elif is_cancel:
        done = _of_any(_cancel, wanted)
    elif back:
        done = _of_any(lambda name: _go_back(name, accept), wanted)
    else:
        done = _rebuild(wanted, processes, accept)
    for told in done:
        if as_json:
            typer.echo(orjson.dumps(told).decode())
        else:
            typer.echo("; ".join(f"{name} {value}" for name, value in told.items()))


def _of_any(
    work: Callable[[str], dict[str, Any]], names: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Do it to those to which it can be done, of several.

    Raises:
        NotFound: there is none.
    """
    missing: list[NotFound] = []
    for name in names:
        try:
            yield work(name)
        except NotFound as error:
            missing.append(error)
    if len(missing) == len(names):
        raise missing[0]


def _drop_old(name: str) -> dict[str, Any]:
    async def run(ledger: Ledger) -> dict[str, Any]:
        async with alone(ledger.dsn, name) as connection:
            dropped = await drop_old(connection, name)
        return {"projection": name, "dropped": dropped}

    return with_ledger(run)


def _cancel(name: str) -> dict[str, Any]:
    async def run(ledger: Ledger) -> dict[str, Any]:
        # Not by the pool, whose statements end soon: it may wait for an index.
        connection = await connect(ledger.dsn, application="consent-ledger rebuild")
        try:
            return {"projection": name, "cancelled": await cancel(connection, name)}
        finally:
            await connection.close()

    return with_ledger(run)


def _go_back(name: str, accepted: str | None) -> dict[str, Any]:
    async def run(ledger: Ledger) -> dict[str, Any]:
        approval = Approval(actor(), accepted)
        async with _means(ledger) as means, alone(ledger.dsn, name) as connection:
            with _Shown() as shown:
                return _told(
                    await go_back(connection, name, means, approval, shown.compared)
                )

    return with_ledger(run)


def _rebuild(
    names: list[str], processes: int | None, accepted: str | None
) -> list[dict[str, Any]]:
    async def run(ledger: Ledger) -> list[dict[str, Any]]:
        count = processes or os.cpu_count() or 1
        approval = Approval(actor(), accepted)
        async with _means(ledger) as means:
            with _Shown() as shown:
                told = Told(shown.filled, shown.begun, shown.compared)
                work = Work(ledger.dsn, means, count, approval, told)
                return [_told(switched) for switched in await rebuild(names, work)]

    return with_ledger(run)


@asynccontextmanager
async def _means(ledger: Ledger) -> AsyncIterator[Means]:
    seconds = ledger.settings.poll_seconds
    async with Doorbell(
        ledger.dsn, "projections_advanced", poll_seconds=seconds
    ) as bell:
        yield Means(
            ledger.dsn,
            ledger.pool,
            ledger.store,
            ledger.keyring,
            bell,
            ledger.settings,
        )


class _Shown:
    """How far it is, on standard error: a bar while events are folded, and lines."""

    def __init__(self) -> None:
        self._bar = ExitStack()
        self._names: Sequence[str] = ()
        self._advance: Advance
        self._done = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.close()

    def filled(self, names: Sequence[str], done: int, total: int) -> None:
        """Move the bar of those projections."""
        if self._names != names:
            self._bar.close()
            bar = shown_progress(f"{', '.join(names)}: events", total, done=done)
            self._advance = self._bar.enter_context(bar)
            self._names, self._done = names, done
        self._advance(done - self._done)
        self._done = done

    def begun(self, name: str, phase: str) -> None:
        """A line, after the bar."""
        self._bar.close()
        typer.echo(f"{name}: {phase}", err=True)

    def compared(self, target: Target, comparison: Comparison) -> None:
        """A line for each kind of change, with the subjects that are examples of it."""
        name, version, _ = target.live
        if stopped := comparison.stopped:
            why = (
                "" if stopped.is_risk else "; it says of nobody that they may be texted"
            )
            typer.echo(
                f"{name}: version {target.serving.version} {stopped} "
                f"({stopped.reason}){why}",
                err=True,
            )
        for change in comparison.changes:
            subjects = ", ".join(map(str, change.examples))
            typer.echo(
                f"{name}: {change.numbers} {change.was} to {change.becomes} in "
                f"version {version}, of report {comparison.report_id}: {subjects}",
                err=True,
            )


def _told(switched: Switched) -> dict[str, Any]:
    target, compared, position = switched
    return {
        "projection": target.live.name,
        "from": target.serving.version,
        "serving": target.live.version,
        "position": position,
        "report": compared.report_id,
        "appliedTheSame": compared.have_applied_the_same,
        **({"notCompared": compared.stopped.numbers} if compared.stopped else {}),
        "changes": {
            f"{change.was} to {change.becomes}": change.numbers
            for change in compared.changes
        },
    }
