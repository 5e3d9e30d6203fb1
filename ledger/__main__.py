"""The command line: arguments only; the work is done in the modules it names.

The one place that knows both packages. Exit codes: 0 done, 1 the answer is no (a check
failed, a name is not known), 2 wrong usage, 3 the settings or the schema do not fit,
4 the database or the service cannot be used now.
"""

import asyncio
import signal
import sys
from typing import Annotated, NoReturn, TypeVar

import asyncpg
import typer
import uvloop
from rich.console import Console

from ledger import reports
from ledger.cli.backfill import import_twilio
from ledger.cli.check import check_app
from ledger.cli.export import export_app
from ledger.cli.imports import imports_app
from ledger.cli.keys import keys_app
from ledger.cli.people import people_app
from ledger.cli.push import push_app
from ledger.cli.rebuild import rebuild_app
from ledger.cli.reconcile import reconcile_app
from ledger.cli.replay import replay_app
from ledger.cli.retention import retention_app
from ledger.cli.sending import sending_app
from ledger.cli.setup import database, prepare, read_settings, with_connection
from ledger.cli.twilio import twilio_app
from ledger.cli.verify import verify_app
from ledger.development import with_development_secrets
from ledger.errors import (
    Fault,
    InvalidRequest,
    LedgerError,
    TryAgain,
)
from ledger.logs import configure_logging
from ledger.master_key import load_master_keys
from ledger.serve import Server, listen
from ledger.simulate import simulate_text
from ledger.store.embedded import EmbeddedPostgres
from ledger.store.kinds import check_chains
from ledger.webhook.on_message import load_handlers
from projections.app import migrate_all
from projections.app import project as run_projections

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="The system of record for SMS consent.",
)
app.add_typer(keys_app, name="keys")
app.add_typer(check_app)
app.add_typer(people_app)
app.add_typer(retention_app)
app.add_typer(export_app)
app.add_typer(push_app)
app.add_typer(replay_app)
app.add_typer(reconcile_app)
app.add_typer(verify_app)
app.add_typer(rebuild_app)
imports_app.command("twilio")(import_twilio)
app.add_typer(imports_app, name="import")
app.add_typer(twilio_app, name="twilio")
app.add_typer(sending_app)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for a script.")]
Result = TypeVar("Result")
_REFUSED_BY_DATABASE = 3


def main() -> NoReturn:
    """Run the command line; an error becomes one sentence and an exit code."""
    # As Ctrl-C does: whoever has started the embedded server leaves it in order.
    signal.signal(signal.SIGTERM, _terminate)
    try:
        # Before anything is read: who cannot read its past does nothing at all.
        check_chains()
        app()
    except LedgerError as error:
        console = Console(stderr=True)
        console.print(f"[red]{error.title()}[/red]: ", end="")
        # Not broken into lines: people copy commands from it, and scripts search it.
        console.print(str(error), markup=False, highlight=False, soft_wrap=True)
        sys.exit(_exit_code(error))
    except asyncpg.PostgresError as error:  # such as a role without the right
        Console(stderr=True).print(str(error), style="red", markup=False)
        sys.exit(_REFUSED_BY_DATABASE)
    sys.exit(0)


@app.command()
def serve(
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=64, help="Web processes.", envvar="LEDGER_WORKERS"),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65_535, help="TCP port.", envvar="LEDGER_PORT"),
    ] = None,
) -> None:
    """Serve the webhook and the API, with the projections beside them."""
    settings = with_development_secrets(read_settings(workers=workers, port=port))
    configure_logging(settings.log_level)
    masters = load_master_keys(settings)
    load_handlers(settings.on_message)
    with listen(settings) as listener:
        settings = settings.model_copy(update={"port": listener.getsockname()[1]})
        with database(settings) as (dsn, embedded):
            asyncio.run(prepare(dsn, settings, masters))
            Server(settings, dsn, embedded, listener).run()


@app.command()
def project(
    *,
    child: Annotated[
        bool, typer.Option(hidden=True, help="End when standard input closes.")
    ] = False,
) -> None:
    """Keep the projections up to date, and nothing else."""
    settings = read_settings()
    configure_logging(settings.log_level)
    masters = load_master_keys(settings)
    with database(settings) as (dsn, _):
        if not child:
            asyncio.run(prepare(dsn, settings, masters))
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run_projections(dsn, settings, masters, ends_with_input=child))


@app.command(hidden=True)
def revive() -> None:
    """Start the embedded server that was killed under a running ``serve``, and end."""
    EmbeddedPostgres(read_settings().data_dir).start()


@app.command()
def migrate() -> None:
    """Bring the database's schema to this release; safe to run twice, or at once."""
    applied = with_connection(migrate_all, is_migration=True)
    for name in applied:
        typer.echo(f"applied {name}")
    if not applied:
        typer.echo("nothing to do")


@app.command()
def simulate(
    number: Annotated[str, typer.Argument(help="Who texts, as +14155550100.")],
    text: Annotated[str, typer.Argument(help="What they write, such as STOP.")],
    to: Annotated[
        str, typer.Option(help="The Twilio number that they text.")
    ] = "+14155550199",
    service: Annotated[
        str | None, typer.Option(help="A MessagingServiceSid, as Twilio sends.")
    ] = None,
    opt_out_type: Annotated[
        str | None, typer.Option(help="OptOutType, as Advanced Opt-Out sends.")
    ] = None,
) -> None:
    """Sign and post a text as Twilio does, and print what the API then says."""
    settings = with_development_secrets(read_settings())
    is_accepted, shown = asyncio.run(
        simulate_text(
            settings,
            number=number,
            text=text,
            to=to,
            service=service,
            opt_out_type=opt_out_type,
        )
    )
    typer.echo(shown)
    if not is_accepted:
        raise typer.Exit(1)


@app.command()
def status(*, as_json: AsJson = False) -> None:
    """Show position, projections and totals; exit 1 if a projection does not run."""
    channels = read_settings().notice_channels
    report = with_connection(
        lambda connection: reports.read_status(connection, channels)
    )
    reports.print_status(report, as_json=as_json)
    if not report.is_well:
        raise typer.Exit(1)


def _terminate(signum: int, _: object) -> NoReturn:
    sys.exit(128 + signum)


def _exit_code(error: LedgerError) -> int:
    match error:
        case Fault():
            return 3
        case TryAgain():
            return 4
        case InvalidRequest():
            return 2
        case _:
            return 1


if __name__ == "__main__":
    main()
