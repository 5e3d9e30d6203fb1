"""``python -m bench``: everything in one run, as the issue's section "Speed" has it.

``python -m bench data`` fills a large ledger and measures nothing. Exit codes: 0 every
row reaches "at least", 1 one does not or could not be measured, 2 wrong usage or wrk is
missing.
"""

import json
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench import asking, report, rows
from bench.copying import NotEmpty
from bench.database import Database
from bench.fill import fill
from bench.hot_spots import print_hot_spots
from bench.imports import import_rows
from bench.ledgers import (
    EVENTS_LARGE,
    EVENTS_SMALL,
    KEPT,
    fill_folder,
    fill_url,
    kept_ledger,
    shape_of,
)
from bench.rebuilding import EVENTS_REBUILT, beside, rebuilding
from bench.results import TARGETS, Row
from bench.rows import Plan, Writing
from bench.sealing import sealing
from bench.service import constant_handler, get, postgres, serve
from bench.story import Shape
from bench.texts import number, number_path
from ledger.errors import ConfigurationError

_WRITING = {
    "webhooks-64": rows.webhooks_64,
    "webhooks-256": rows.webhooks_256,
    "one-webhook": rows.one_webhook,
    "memory": rows.memory,
    "visible": rows.visible,
}
_WRITING_CONSENT = {
    "webhooks-64-consent": rows.webhooks_64_consent,
    "webhooks-256-consent": rows.webhooks_256_consent,
}
_READING = ("projector", "get-number", "list", "rebuild-beside", "rebuild-beside-get")
_ASKING = {
    "as-of": asking.as_of,
    "as-of-longest": asking.as_of_longest,
    "as-of-known-at": asking.as_of_known_at,
    "check": asking.check,
    "check-as-of": asking.check_as_of,
}
_SEALING = ("sealing-webhooks", "sealing-projector")
_MOVING_IN = ("import-rows",)
_REBUILDING = ("rebuild", "rebuild-memory", "rebuild-limit")
_BESIDE = ("rebuild-beside", "rebuild-beside-get")


@dataclass
class _Run:
    """What was asked for, and what was found so far."""

    plan: Plan
    names: set[str]
    folder: Path
    profile: bool
    shape: Shape
    rebuilt: Shape
    kept: Path
    found: dict[str, Row] = field(default_factory=dict)
    writing: Writing | None = None
    server: str = ""

    def measure(self, name: str, work: Callable[[], Row]) -> None:
        """Keep what ``work`` finds; a row that fails does not take the rest along."""
        if name not in self.names:
            return
        with self._failing({name}):
            self.found[name] = work()

    def keep(self, rows: Iterable[Row]) -> None:
        """Keep what was found together, as far as it was asked for."""
        self.found |= {row.name: row for row in rows if row.name in self.names}

    def stage(self, names: Iterable[str], work: Callable[["_Run"], None]) -> None:
        """Do what several rows need, if one of them is asked for."""
        if wanted := self.names & set(names):
            with self._failing(wanted):
                work(self)

    @contextmanager
    def _failing(self, names: set[str]) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001 - shown, kept, and exit code 1
            self.plan.say(traceback.format_exc())
            note = f"{type(error).__name__}: {str(error)[:500]}"
            for name in names - set(self.found):
                self.found[name] = Row(name, [], notes=[note])


def data(
    target: Annotated[
        str, typer.Argument(help="A folder, or the URL of an empty database.")
    ],
    events: Annotated[int, typer.Option(min=1)] = EVENTS_LARGE,
    numbers: Annotated[
        int | None, typer.Option(min=1, help="Default: one for every five events.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Another seed, another story.")] = 1,
) -> None:
    """Fill a ledger with realistic events through COPY, and project it.

    A folder gets an embedded PostgreSQL, as LEDGER_DATA_DIR does; for a database,
    LEDGER_MASTER_KEY says what wraps its keys.
    """
    say = _sayer(Console(stderr=True))
    try:
        shape = shape_of(events, numbers, seed)
        if "://" in target:
            fill_url(target, shape, say)
        else:
            fill_folder(Path(target), shape, say)
    except (ValueError, NotEmpty, ConfigurationError) as error:
        say(str(error))
        sys.exit(2)


def main(  # noqa: PLR0913 - one parameter an option
    context: typer.Context,
    *,
    only: Annotated[
        list[str] | None, typer.Option(help=f"One of {', '.join(TARGETS)}; repeat.")
    ] = None,
    seconds: Annotated[int, typer.Option(min=1, help="Of each side's round.")] = 5,
    rounds: Annotated[int, typer.Option(min=1, help="Of each row.")] = 3,
    events: Annotated[
        int, typer.Option(min=1, help="Of the ledger that as-of and check rows ask.")
    ] = EVENTS_SMALL,
    rebuilt: Annotated[
        int, typer.Option(min=1, help="Of the ledger that rebuild rows build from.")
    ] = EVENTS_REBUILT,
    kept: Annotated[
        Path, typer.Option(help="Where such ledgers are kept between runs.")
    ] = KEPT,
    directory: Annotated[
        Path | None, typer.Option(help="Where databases go: a disk, not memory.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="JSON on standard output.")
    ] = False,
    profile: Annotated[
        bool, typer.Option(help="Sample a web process with py-spy, if it is there.")
    ] = False,
) -> None:
    """Measure the service against the least that the same machine can do."""
    if context.invoked_subcommand is not None:
        return
    console = Console(stderr=True)
    names = set(only or TARGETS)
    _refuse(console, names)
    with _folders(directory) as (folder, scratch):
        say = _sayer(console)
        plan = Plan(seconds, rounds, scratch, say)
        shapes = shape_of(events), shape_of(rebuilt)
        run = _Run(plan, names, folder, profile, *shapes, kept)
        run.stage(_WRITING, _write)
        run.stage(_WRITING_CONSENT, _write_consent)
        run.stage(_READING, _read)
        run.stage(_ASKING, _ask)
        run.stage(_SEALING, _seal)
        run.stage(_MOVING_IN, _move_in)
        run.stage(_REBUILDING, _rebuild)
    found = [run.found[name] for name in TARGETS if name in run.found]
    _show(run, found, as_json=as_json)
    sys.exit(any(row.verdict in ("below", "not measured") for row in found))


def _write(run: _Run) -> None:
    """Everything about webhooks, on a fresh ledger."""
    folder = run.folder / "writing"
    with postgres(folder) as database, serve(folder) as running:
        run.server = _describe(database)
        writing = run.writing = Writing(run.plan, running, database)
        writing.warm_up()
        for name, measure in _WRITING.items():
            run.measure(name, lambda measure=measure: measure(writing))  # type: ignore[misc]
        if run.profile:
            print_hot_spots(writing)


def _write_consent(run: _Run) -> None:
    """Webhooks where a text is one event, what it says of consent, and not two."""
    folder = run.folder / "writing-consent"
    more = {"LEDGER_RECORD_MESSAGES": "false"}
    with postgres(folder) as database, serve(folder, more=more) as running:
        run.server = _describe(database)
        writing = Writing(run.plan, running, database)
        writing.warm_up()
        for name, measure in _WRITING_CONSENT.items():
            run.measure(name, lambda measure=measure: measure(writing))  # type: ignore[misc]


def _read(run: _Run) -> None:
    """Everything about reading, on 500,000 events of 100,000 numbers."""
    folder = run.folder / "reading"
    with postgres(folder) as database:
        run.server = _describe(database)
        run.plan.say("filling: 500,000 events of 100,000 numbers")
        fill(database)
        run.measure("projector", lambda: rows.projector(run.plan, database))
        if run.names & {"get-number", "list", *_BESIDE}:
            _read_api(run, database, folder)


def _ask(run: _Run) -> None:
    """Everything about the past and about lists, on a large ledger that is kept."""
    with kept_ledger(run.shape, run.kept, run.plan.say) as database:
        run.server = _describe(database)
        with serve(database.folder) as running:
            questions = asking.Asking(run.plan, running, database, run.shape)
            for name, measure in _ASKING.items():
                run.measure(name, lambda measure=measure: measure(questions))  # type: ignore[misc]


def _seal(run: _Run) -> None:
    """What sealing costs, on two ledgers side by side."""
    for row in sealing(run.plan, run.folder):
        run.found[row.name] = row


def _move_in(run: _Run) -> None:
    """What an import of a large file takes, on a fresh ledger."""
    run.measure("import-rows", lambda: import_rows(run.plan, run.folder / "moving-in"))


def _rebuild(run: _Run) -> None:
    """What a rebuild takes, on a large ledger that is kept."""
    with kept_ledger(run.rebuilt, run.kept, run.plan.say) as database:
        run.server = _describe(database)
        run.keep(rebuilding(run.plan, database))


def _read_api(run: _Run, database: Database, folder: Path) -> None:
    with serve(folder) as running:
        database.wait_caught_up()
        database.rows("VACUUM ANALYZE")
        _, body = get(running.url + number_path(number(1)))
        with constant_handler(folder, body) as constant:
            plan = run.plan
            run.measure("get-number", lambda: rows.get_number(plan, running, constant))
            run.measure("list", lambda: rows.list_numbers(plan, running, constant))
        run.stage(_BESIDE, lambda run: run.keep(beside(run.plan, database, running)))


def _show(run: _Run, found: list[Row], *, as_json: bool) -> None:
    console = Console(stderr=as_json, width=None if sys.stdout.isatty() else 160)
    report.print_table(console, found)
    console.print(f"server: {run.server}", highlight=False)
    if run.writing is not None:
        report.print_costs(console, run.writing)
    saved = report.save(found, run.writing, run.server)
    console.print(f"saved to {saved['file']}", highlight=False)
    if as_json:
        print(json.dumps(saved))


def _describe(database: Database) -> str:
    names = ("server_version", "fsync", "synchronous_commit", "shared_buffers")
    shown = [f"{name} {database.value(f'SHOW {name}')}" for name in names]
    connections = database.value("SHOW max_connections")
    return (
        f"embedded PostgreSQL, {', '.join(shown)}, as shipped, but max_connections "
        f"{connections} so that pgbench's 64 clients fit"
    )


def _refuse(console: Console, names: set[str]) -> None:
    if unknown := names - set(TARGETS):
        console.print(f"unknown: {', '.join(unknown)}; known: {', '.join(TARGETS)}")
        sys.exit(2)
    if shutil.which("wrk") is None:
        console.print("wrk is not installed; on Debian: apt-get install wrk")
        sys.exit(2)


@contextmanager
def _folders(directory: Path | None) -> Iterator[tuple[Path, Path]]:
    """One on the disk for databases, one in memory for prepared requests."""
    memory = Path("/dev/shm")  # noqa: S108 - a fresh folder in it, as in /tmp
    prefix = "consent-ledger-bench-"
    with (
        tempfile.TemporaryDirectory(
            prefix=prefix, dir=directory, ignore_cleanup_errors=True
        ) as folder,
        tempfile.TemporaryDirectory(
            prefix=prefix, dir=memory if memory.is_dir() else None
        ) as scratch,
    ):
        yield Path(folder), Path(scratch)


def _sayer(console: Console) -> Callable[[str], None]:
    def say(text: str) -> None:
        console.print(text, style="dim", markup=False, highlight=False, soft_wrap=True)

    return say


if __name__ == "__main__":
    app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    app.callback(invoke_without_command=True)(main)
    app.command()(data)
    app()
