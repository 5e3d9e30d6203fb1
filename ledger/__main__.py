"""The command line: arguments only; the work is done in the modules it names.

The one place that knows both packages. Exit codes: 0 done, 1 the answer is no (a check
failed, a name is not known), 2 wrong usage, 3 the settings or the schema do not fit,
4 the database or the service cannot be used now.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, NoReturn, TypeVar

import asyncpg
import typer
import uvloop
from rich.console import Console

from ledger import reports
from ledger.api.keys import create_key, list_keys, revoke_key
from ledger.development import with_development_secrets
from ledger.errors import (
    ConfigurationError,
    Fault,
    InvalidRequest,
    LedgerError,
    StoreUnavailable,
    TryAgain,
)
from ledger.logs import configure_logging
from ledger.migrations import check_schema
from ledger.serve import Server, listen
from ledger.settings import Settings
from ledger.simulate import simulate_text
from ledger.store.database import Connection, connect
from ledger.store.embedded import EmbeddedPostgres
from projections.app import migrate_all
from projections.app import project as run_projections

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="The system of record for SMS consent.",
)
keys_app = typer.Typer(no_args_is_help=True, help="Make, list and revoke API keys.")
app.add_typer(keys_app, name="keys")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for a script.")]
Result = TypeVar("Result")
_REFUSED_BY_DATABASE = 3

_WRONG_URL = (
    asyncpg.ClientConfigurationError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    OverflowError,  # a port above 65535
)


def main() -> NoReturn:
    """Run the command line; an error becomes one sentence and an exit code."""
    # As Ctrl-C does: whoever has started the embedded server leaves it in order.
    signal.signal(signal.SIGTERM, _terminate)
    try:
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
    settings = with_development_secrets(_settings(workers=workers, port=port))
    configure_logging(settings.log_level)
    with listen(settings) as listener:
        settings = settings.model_copy(update={"port": listener.getsockname()[1]})
        with _database(settings) as (dsn, embedded):
            asyncio.run(_prepare(dsn, settings))
            Server(settings, dsn, embedded, listener).run()


@app.command()
def project(
    *,
    child: Annotated[
        bool, typer.Option(hidden=True, help="End when standard input closes.")
    ] = False,
) -> None:
    """Keep the projections up to date, and nothing else."""
    settings = _settings()
    configure_logging(settings.log_level)
    with _database(settings) as (dsn, _):
        if not child:
            asyncio.run(_prepare(dsn, settings))
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run_projections(dsn, settings, ends_with_input=child))


@app.command(hidden=True)
def revive() -> None:
    """Start the embedded server that was killed under a running ``serve``, and end."""
    EmbeddedPostgres(_settings().data_dir).start()


@app.command()
def migrate() -> None:
    """Bring the database's schema to this release; safe to run twice, or at once."""
    applied = _with_connection(migrate_all, is_migration=True)
    for name in applied:
        typer.echo(f"applied {name}")
    if not applied:
        typer.echo("nothing to do")


@keys_app.command("create")
def keys_create(
    name: Annotated[str, typer.Argument(help="Who will use it.")],
    role: Annotated[str, typer.Option(help="reader, writer, auditor or admin.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it, once."""
    known = reports.role_named(role)
    secret = _with_connection(lambda c: create_key(c, name, known))
    reports.print_key(name, known, secret, as_json=as_json)


@keys_app.command("list")
def keys_list(*, as_json: AsJson = False) -> None:
    """Show every key but its secret."""
    reports.print_keys(_with_connection(list_keys), as_json=as_json)


@keys_app.command("revoke")
def keys_revoke(name: Annotated[str, typer.Argument(help="Its name.")]) -> None:
    """Refuse a key from now on; in seconds, wherever it was just used."""
    _with_connection(lambda c: revoke_key(c, name))
    typer.echo(f"revoked {name}")


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
    settings = with_development_secrets(_settings())
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
    report = _with_connection(reports.read_status)
    reports.print_status(report, as_json=as_json)
    if not report.is_well:
        raise typer.Exit(1)


def _terminate(signum: int, _: object) -> NoReturn:
    sys.exit(128 + signum)


def _settings(**overrides: object) -> Settings:
    settings = Settings.from_mapping(os.environ)
    given = {name: value for name, value in overrides.items() if value is not None}
    return settings.model_copy(update=given)


@contextmanager
def _database(settings: Settings) -> Iterator[tuple[str, EmbeddedPostgres | None]]:
    """The database to use, and the embedded server if that is it."""
    if settings.database_url is not None:
        yield settings.database_url, None
        return
    embedded = EmbeddedPostgres(settings.data_dir)
    dsn = embedded.start()
    try:
        yield dsn, embedded
    finally:
        embedded.stop()


async def _prepare(dsn: str, settings: Settings) -> None:
    """Migrate the embedded database; refuse a schema of another release elsewhere.

    A database that cannot be reached is no reason not to start: the service answers 503
    and becomes ready when it can.
    """
    try:
        connection = await _connect(dsn, application="consent-ledger start")
    except StoreUnavailable as error:
        reports.warn_unreachable(error)
        return
    try:
        await _settle_schema(connection, settings)
    finally:
        await connection.close()


async def _connect(dsn: str, *, application: str) -> Connection:
    """A connection; what no waiting would change is about DATABASE_URL."""
    try:
        return await connect(dsn, application=application)
    except _WRONG_URL as error:
        raise ConfigurationError(f"DATABASE_URL cannot be used: {error}") from error


async def _settle_schema(connection: Connection, settings: Settings) -> None:
    if settings.is_embedded:
        await migrate_all(connection)
    else:
        await check_schema(connection)


def _with_connection(
    work: Callable[[Connection], Awaitable[Result]], *, is_migration: bool = False
) -> Result:
    settings = _settings()

    async def run(dsn: str) -> Result:
        connection = await _connect(dsn, application="consent-ledger cli")
        try:
            if not is_migration:
                await _settle_schema(connection, settings)
            return await work(connection)
        finally:
            await connection.close()

    with _database(settings) as (dsn, _):
        return asyncio.run(run(dsn))


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
