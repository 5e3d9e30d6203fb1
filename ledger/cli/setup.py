"""What every command needs first: the settings, the database, a schema that fits.

Never does what a command is for.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Annotated, NamedTuple, TypeVar

import asyncpg
import typer
import uvloop

from ledger import reports
from ledger.errors import ConfigurationError, StoreUnavailable, UnknownEvent
from ledger.master_key import load_master_keys
from ledger.migrations import check_schema
from ledger.settings import Settings
from ledger.store.database import Connection, Pool, connect, open_pool
from ledger.store.embedded import EmbeddedPostgres
from ledger.store.keyring import Keyring
from ledger.store.master import MasterKeys
from ledger.store.postgres import PostgresEventStore
from ledger.store.releases import explained, note_kinds
from projections.app import migrate_all

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for a script.")]
Result = TypeVar("Result")

_WRONG_URL = (
    asyncpg.ClientConfigurationError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    OverflowError,  # a port above 65535
)


class Ledger(NamedTuple):
    """What a command that reads or writes events works with."""

    pool: Pool
    store: PostgresEventStore
    keyring: Keyring
    settings: Settings
    masters: MasterKeys
    dsn: str


def read_settings(**overrides: object) -> Settings:
    """The settings of the environment, and what the command line says instead.

    Raises:
        ConfigurationError: one is not allowed.
    """
    settings = Settings.from_mapping(os.environ)
    given = {name: value for name, value in overrides.items() if value is not None}
    return settings.model_copy(update=given)


@contextmanager
def database(settings: Settings) -> Iterator[tuple[str, EmbeddedPostgres | None]]:
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


async def prepare(dsn: str, settings: Settings, masters: MasterKeys) -> None:
    """Migrate the embedded database; refuse a schema of another release elsewhere.

    Refuse a master key that is not this ledger's, too.

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
        await Keyring(connection, masters).check()
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
        # Whoever only reads need not note anything, and may not have the right to.
        with suppress(StoreUnavailable, asyncpg.InsufficientPrivilegeError):
            await note_kinds(connection)


def with_connection(
    work: Callable[[Connection], Awaitable[Result]], *, is_migration: bool = False
) -> Result:
    """Do ``work`` on a connection to the database, whose schema fits.

    Raises:
        ConfigurationError, SchemaMismatch: it cannot be worked with.
        StoreUnavailable: it cannot be reached.
    """
    settings = read_settings()

    async def run(dsn: str) -> Result:
        connection = await _connect(dsn, application="consent-ledger cli")
        try:
            if not is_migration:
                await _settle_schema(connection, settings)
            return await work(connection)
        finally:
            await connection.close()

    with database(settings) as (dsn, _):
        return asyncio.run(run(dsn))


def with_ledger(work: Callable[[Ledger], Awaitable[Result]]) -> Result:
    """Do ``work`` on the ledger, with its keys.

    Raises:
        ConfigurationError, SchemaMismatch, MasterKeyMissing: it cannot be worked with.
        StoreUnavailable: it cannot be reached.
    """
    settings = read_settings()
    masters = load_master_keys(settings)

    async def run(dsn: str) -> Result:
        connection = await _connect(dsn, application="consent-ledger cli")
        try:
            await _settle_schema(connection, settings)
        finally:
            await connection.close()
        async with await open_pool(
            dsn, settings, application="consent-ledger cli"
        ) as pool:
            keyring = Keyring(pool, masters)
            await keyring.check()
            store = PostgresEventStore(pool)
            try:
                return await work(Ledger(pool, store, keyring, settings, masters, dsn))
            except UnknownEvent as unknown:
                raise await explained(pool, unknown) from None

    with (
        database(settings) as (dsn, _),
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        return runner.run(run(dsn))
