"""Which release knows which events, noted in the database for releases that do not.

An event from the future names its kind and its version and nothing else, so the release
that is to be started can only be known if that release has said so before: each notes
what it knows when it migrates or starts, and that is before it writes. Never decides
whether an event can be read: ``codec`` does.
"""

from importlib.metadata import version
from typing import Final

import asyncpg

from ledger.errors import StoreUnavailable, UnknownEvent
from ledger.store.database import Connection, Pool, translated
from ledger.store.kinds import known_versions
from ledger.store.statements import statement

_READ: Final = statement("ledger.store", "read_event_kinds")
_INSERT: Final = statement("ledger.store", "insert_event_kinds")
_FIND: Final = statement("ledger.store", "find_release")


def this_release() -> str:
    """The version of the package that runs."""
    return version("consent-ledger")


async def note_kinds(connection: Connection) -> None:
    """Note what this release knows and nobody has noted yet.

    Raises:
        StoreUnavailable: the database cannot be read or written now.
        InsufficientPrivilegeError: there is something to note, and the role may not.
    """
    with translated():
        noted = {(row[0], row[1]) for row in await connection.fetch(_READ)}
        news = [known for known in known_versions() if known not in noted]
        if news:
            topics, versions = zip(*news, strict=True)
            await connection.execute(_INSERT, topics, versions, this_release())


async def explained(pool: Pool, unknown: UnknownEvent) -> UnknownEvent:
    """The same error, with the release that knows the event, where that was noted."""
    try:
        with translated():
            release = await pool.fetchval(_FIND, unknown.topic, unknown.class_version)
    except (StoreUnavailable, asyncpg.PostgresError):
        # Whatever hinders the looking up, the event itself is what must be told.
        return unknown
    return unknown.known_to(release)
