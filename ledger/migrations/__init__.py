"""Brings the database's schema to what this release works with.

Migrations are numbered files, applied once, in order, each in a transaction; forward
only. Two processes starting at once are safe: an advisory lock lets one through at a
time. A database that is newer than the code is refused, never guessed at.
"""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from ledger.errors import SchemaMismatch
from ledger.store.database import Connection, translated
from ledger.store.releases import note_kinds
from ledger.store.statements import statement

_LOCK = statement("ledger.migrations", "lock")
_UNLOCK = statement("ledger.migrations", "unlock")
_CREATE = statement("ledger.migrations", "create_schema_migrations")
_APPLIED = statement("ledger.migrations", "read_schema_migrations")
_RECORD = statement("ledger.migrations", "insert_schema_migration")
_EXISTS = statement("ledger.migrations", "find_schema_migrations")
_NAME = re.compile(r"(\d{4})_\w+\.sql")


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered step."""

    number: int
    name: str
    sql: str


@cache
def migrations() -> tuple[Migration, ...]:
    """Every step that this release knows, in order."""
    found = []
    for path in files("ledger.migrations").iterdir():
        if matched := _NAME.fullmatch(path.name):
            sql = path.read_text(encoding="utf-8")
            found.append(Migration(int(matched[1]), path.name, sql))
    return tuple(sorted(found, key=lambda migration: migration.number))


async def migrate(connection: Connection) -> list[str]:
    """Apply what is missing; the names of what was applied.

    And note which kinds of events this release knows, for those that do not.

    Raises:
        SchemaMismatch: the database is newer than this release.
        StoreUnavailable: the database cannot do it now; what was applied stays.
    """
    with translated():
        async with locked(connection):
            applied = await _apply_missing(connection)
            await note_kinds(connection)
            return applied


@asynccontextmanager
async def locked(connection: Connection) -> AsyncIterator[None]:
    """Let one process at a time change the schema; the others wait."""
    await connection.execute(_LOCK)
    try:
        yield
    finally:
        await connection.execute(_UNLOCK)


async def check_schema(connection: Connection) -> None:
    """Refuse to work with a schema that is not this release's.

    Raises:
        SchemaMismatch: it is older (run ``consent-ledger migrate``) or newer.
        StoreUnavailable: the database cannot be read now.
    """
    with translated():
        exists = await connection.fetchval(_EXISTS)
        applied = await _applied(connection) if exists else 0
    latest = migrations()[-1].number
    if applied < latest:
        raise SchemaMismatch(
            f"the database is at migration {applied}, this release needs {latest}: "
            "run `consent-ledger migrate`"
        )


async def _apply_missing(connection: Connection) -> list[str]:
    await connection.execute(_CREATE)
    applied = await _applied(connection)
    missing = [step for step in migrations() if step.number > applied]
    for step in missing:
        async with connection.transaction():
            await connection.execute(step.sql)
            await connection.execute(_RECORD, step.number, step.name)
    return [step.name for step in missing]


async def _applied(connection: Connection) -> int:
    """The number of the last step that was applied, if all are steps of ours."""
    known = {step.number: step.name for step in migrations()}
    rows = await connection.fetch(_APPLIED)
    for number, name in rows:
        if number not in known:
            raise SchemaMismatch(
                f"the database is at migration {number}, this release knows up to "
                f"{max(known)}: it was migrated by a newer release, start that one"
            )
        if name != known[number]:
            raise SchemaMismatch(
                f"the database's migration {number} is {name}, and this release's is "
                f"{known[number]}: it was made by an unreleased version, start with a "
                "new database (or another LEDGER_DATA_DIR)"
            )
    return max((number for number, _ in rows), default=0)
