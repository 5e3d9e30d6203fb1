"""What the command line prints: tables on a terminal, JSON for a script."""

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import get_args

import asyncpg
import orjson
import typer
from rich.console import Console
from rich.table import Table

from ledger.api.keys import KeyRecord, Role
from ledger.api.read_model import RUNNING_SECONDS_MAX, read_rebuilds
from ledger.api.serving import Serving
from ledger.domain.ids import Answer
from ledger.errors import InvalidKey, LedgerError, NotServed
from ledger.notifying.standing import ChannelStatus, read_channels
from ledger.store.database import Connection, translated
from ledger.store.statements import statement

_READ_STATUS = statement("ledger", "read_status")
_READ_TOTALS = statement("ledger", "read_totals")
_COUNT_UNSETTLED = statement("ledger", "count_unsettled")


@dataclass(frozen=True, slots=True)
class ProjectionStatus:
    """Where a projection stands."""

    name: str
    version: int
    serves: bool
    answers: bool
    """Whether this release answers from it: that need not be the one that serves."""
    position: int
    lag_events: int
    idle_seconds: float
    stopped_reason: str | None

    @property
    def is_running(self) -> bool:
        """Whether its worker was heard of lately, and has not stopped."""
        is_silent = self.idle_seconds > RUNNING_SECONDS_MAX
        return self.stopped_reason is None and not is_silent


@dataclass(frozen=True, slots=True)
class RebuildStatus:
    """How far a version is that is being built."""

    name: str
    version: int
    phase: str
    events_done: int
    events_total: int
    seconds: float
    is_at_work: bool

    @property
    def events_a_second(self) -> float:
        """How fast it is filled, on the whole: less where it has rested."""
        return self.events_done / max(self.seconds, 1e-3)

    @property
    def seconds_left(self) -> float | None:
        """How long filling takes still; None where nobody can tell."""
        if not (self.is_at_work and self.events_done):
            return None
        return (self.events_total - self.events_done) / self.events_a_second


@dataclass(frozen=True, slots=True)
class Status:
    """Where the ledger stands."""

    position: int
    numbers_in: int | None
    """None where this release knows no version that it could count."""
    numbers_out: int | None
    numbers_unknown: int | None
    """Those whose every consent has lapsed."""
    messages_unsettled: int
    """Texts of which nobody knows yet whether Twilio has them."""
    notices: list[ChannelStatus]
    """Where each channel stands that was ever started."""
    projections: list[ProjectionStatus]
    rebuilds: list[RebuildStatus]

    @property
    def is_well(self) -> bool:
        """Whether every projection that answers runs, as far as anybody can tell."""
        is_counted = self.numbers_in is not None
        return is_counted and all(p.is_running for p in self.projections if p.answers)


async def read_status(connection: Connection, channels: Collection[str]) -> Status:
    """Read where the ledger, its projections and its channels of notices stand.

    ``channels`` are those that are set.

    Raises:
        StoreUnavailable: the database cannot be read now.
    """
    with translated():
        rows = await connection.fetch(_READ_STATUS)
        totals: dict[str, int | None] = dict.fromkeys(get_args(Answer))
        unsettled = await connection.fetchval(_COUNT_UNSETTLED)
        answering: set[tuple[str, int]] = set()
        with suppress(NotServed):
            serving = Serving(connection)
            answering = set(await serving.versions())
            counted = await serving.fetch(_READ_TOTALS)
            totals = dict.fromkeys(totals, 0) | {row[0]: row[1] for row in counted}
    return Status(
        position=rows[0]["ledger_position"],
        numbers_in=totals["in"],
        numbers_out=totals["out"],
        numbers_unknown=totals["unknown"],
        messages_unsettled=unsettled,
        notices=await read_channels(connection, channels),
        projections=[_projection(row, answering) for row in rows if row["name"]],
        rebuilds=[RebuildStatus(*r) for r in await read_rebuilds(connection)],
    )


def _projection(
    row: asyncpg.Record, answering: Collection[tuple[str, int]]
) -> ProjectionStatus:
    _, name, version, serves, *rest = row
    return ProjectionStatus(name, version, serves, (name, version) in answering, *rest)


def print_status(status: Status, *, as_json: bool) -> None:
    """Show ``status``."""
    if as_json:
        typer.echo(_json(asdict(status)))
        return
    typer.echo(f"position  {status.position}")
    if status.numbers_in is None:
        typer.echo(f"numbers   {NotServed.title()}")
    else:
        typer.echo(
            f"numbers   {status.numbers_in} in, {status.numbers_out} out, "
            f"{status.numbers_unknown} unknown"
        )
    if status.messages_unsettled:
        typer.echo(f"texts     {status.messages_unsettled} to be settled")
    for channel in status.notices:
        typer.echo(_notices(channel))
    table = Table("projection", "version", "serves", "position", "behind", "state")
    for p in status.projections:
        state = p.stopped_reason or f"last seen {p.idle_seconds:.0f} s ago"
        cells = (
            p.name,
            p.version,
            "yes" if p.serves else "here" if p.answers else "",
            p.position,
            p.lag_events,
            state,
        )
        table.add_row(*map(str, cells))
    Console().print(table)
    if status.rebuilds:
        Console().print(_rebuilds(status.rebuilds))


def _notices(channel: ChannelStatus) -> str:
    if not channel.is_set:
        return f"notices   {channel.channel}: not set here, told to {channel.position}"
    line = f"notices   {channel.channel}: {channel.lag_events} events behind"
    if channel.failing_since is None:
        return line
    since = f"{channel.failing_since:%Y-%m-%d %H:%M:%S}Z"
    return f"{line}, failing since {since}: {channel.failed_reason}"


def _rebuilds(rebuilds: Sequence[RebuildStatus]) -> Table:
    table = Table("rebuild", "version", "phase", "events", "of", "a second", "left")
    for r in rebuilds:
        rate = f"{r.events_a_second:.0f}" if r.phase == "filling" else ""
        left = "" if r.is_at_work else "at rest"
        if r.phase == "filling" and (seconds := r.seconds_left) is not None:
            left = f"{seconds:.0f} s"
        cells = (r.name, r.version, r.phase, r.events_done, r.events_total, rate, left)
        table.add_row(*map(str, cells))
    return table


def print_keys(keys: Sequence[KeyRecord], *, as_json: bool) -> None:
    """Show every key but its secret."""
    if as_json:
        typer.echo(_json([asdict(key) for key in keys]))
        return
    table = Table("name", "role", "created", "revoked")
    for key in keys:
        revoked = f"{key.revoked_at:%Y-%m-%d %H:%M}Z" if key.revoked_at else ""
        table.add_row(key.name, key.role, f"{key.created_at:%Y-%m-%d %H:%M}Z", revoked)
    Console().print(table)


def print_key(name: str, role: Role, secret: str, *, as_json: bool) -> None:
    """Show a new key: alone on standard output, so that a script can keep it."""
    if as_json:
        typer.echo(_json({"name": name, "role": role, "key": secret}))
        return
    typer.echo(secret)
    typer.echo("Keep it now: only its hash is stored.", err=True)


def role_named(name: str) -> Role:
    """The role of that name.

    Raises:
        InvalidKey: there is none.
    """
    for role in get_args(Role):
        if role == name:
            known: Role = role
            return known
    roles = ", ".join(get_args(Role))
    raise InvalidKey(f"{name!r} is not a role; the roles are {roles}")


def warn_unreachable(error: LedgerError) -> None:
    """Say that the service starts without its database."""
    typer.echo(f"{error.title()}: {error}; starting all the same", err=True)


def _json(value: object) -> str:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z).decode()
