"""Connections to PostgreSQL, and what its errors mean to us.

Never runs a statement of its own but what a connection needs. The subtle part is
``translated``: the one place that tells "the database cannot do it now" (the caller may
try again) from a fault of ours (which must be seen).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import asyncpg

from ledger.errors import StoreUnavailable
from ledger.settings import Settings
from ledger.store.pool import Pool

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Connection = (
        asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]
    )
else:
    Connection = asyncpg.Connection

__all__ = ["Connection", "Pool", "connect", "is_passing", "open_pool", "translated"]

CONNECT_SECONDS_MAX = 5.0

_SESSION = {
    "timezone": "UTC",
    "jit": "off",
    # Every statement of ours is a range of one index, whatever its values are: planning
    # it again for each costs more than running it.
    "plan_cache_mode": "force_generic_plan",
    # As the embedded server has it: by PostgreSQL's own, made for discs that turn, all
    # of a long history is read and sorted where 33 steps of its index would do.
    "random_page_cost": "1.1",
}

# Classes of SQLSTATE (PostgreSQL manual, appendix A) after which the same statement may
# succeed: connection, resources (disk full, out of memory, too many connections),
# operator intervention (shutdown, crash, cancel), system error, and single codes.
_PASSING_CLASSES = ("08", "53", "57", "58")
_PASSING = frozenset(
    (
        "25006",  # read_only_sql_transaction: a standby, or a server being switched
        "40001",  # serialization_failure
        "40P01",  # deadlock_detected
        "55P03",  # lock_not_available
        "XX001",  # data_corrupted: loud, but another server may take over
    )
)


class _PooledConnection(asyncpg.Connection):
    """A connection that goes back to the pool without a round trip.

    asyncpg resets a connection on release with a query of its own; ours never change
    session state, so there is nothing to reset.
    """

    def get_reset_query(self) -> str:
        """Nothing to undo."""
        return ""


async def open_pool(
    dsn: str, settings: Settings, *, application: str, is_durable: bool = True
) -> Pool:
    """A pool that connects when it is first needed, so a start needs no database.

    One that is not durable is for tables that are built from events: after a crash of
    the server their rows and checkpoint may both be some moments older, and those
    moments are done again.
    """
    raw = asyncpg.create_pool(
        dsn,
        min_size=0,
        max_size=settings.connections_max,
        command_timeout=settings.statement_timeout_seconds,
        timeout=CONNECT_SECONDS_MAX,
        connection_class=_PooledConnection,
        server_settings=_session(application, is_durable=is_durable),
    )
    return Pool(raw, kept_max=settings.connections_max // 2)


async def connect(dsn: str, *, application: str) -> Connection:
    """One connection, for work that holds it: listening, migrating.

    Raises:
        StoreUnavailable: the database cannot be reached.
    """
    with translated():
        return await asyncpg.connect(
            dsn,
            timeout=CONNECT_SECONDS_MAX,
            server_settings=_session(application, is_durable=True),
        )


def _session(application: str, *, is_durable: bool) -> dict[str, str]:
    # Acknowledged means durable, whatever the server's default is.
    commit = "on" if is_durable else "off"
    return {**_SESSION, "synchronous_commit": commit, "application_name": application}


@contextmanager
def translated() -> Iterator[None]:
    """Turn what PostgreSQL and the network say into the ledger's errors.

    Raises:
        StoreUnavailable: the database cannot do it now. Whether a transaction that was
            being committed is durable is then unknown; a signal's key makes trying it
            again safe.
    """
    try:
        yield
    except asyncpg.PostgresError as error:
        if is_passing(error):
            raise StoreUnavailable(f"{type(error).__name__}: {error}") from error
        raise
    except asyncpg.InternalClientError as error:
        # "another operation is in progress", of a connection that the server has closed
        # this very moment: the next connection may do.
        raise StoreUnavailable(f"{type(error).__name__}: {error}") from error
    except (OSError, TimeoutError, asyncpg.InterfaceError) as error:
        # asyncpg says InterfaceError of a lost connection, and of an argument that it
        # cannot encode; the second is a ValueError too, and will not pass.
        if isinstance(error, ValueError):
            raise
        raise StoreUnavailable(f"{type(error).__name__}: {error}") from error


def is_passing(error: asyncpg.PostgresError) -> bool:
    """Whether the same statement may succeed later."""
    sqlstate = str(error.sqlstate or "")
    return sqlstate.startswith(_PASSING_CLASSES) or sqlstate in _PASSING
