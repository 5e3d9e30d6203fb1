"""``consent-ledger keys``: API keys, and the master key."""

from typing import Annotated

import orjson
import typer

from ledger import reports
from ledger.api.keys import create_key, list_keys, revoke_key
from ledger.cli.setup import AsJson, Ledger, with_connection, with_ledger
from ledger.progress import shown_progress
from ledger.rotation import InUse, Rotation

keys_app = typer.Typer(
    no_args_is_help=True, help="Make, list and revoke API keys; rotate the master key."
)


@keys_app.command("create")
def keys_create(
    name: Annotated[str, typer.Argument(help="Who will use it.")],
    role: Annotated[str, typer.Option(help="reader, writer, auditor or admin.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it, once."""
    known = reports.role_named(role)
    secret = with_connection(lambda c: create_key(c, name, known))
    reports.print_key(name, known, secret, as_json=as_json)


@keys_app.command("list")
def keys_list(*, as_json: AsJson = False) -> None:
    """Show every key but its secret."""
    reports.print_keys(with_connection(list_keys), as_json=as_json)


@keys_app.command("revoke")
def keys_revoke(name: Annotated[str, typer.Argument(help="Its name.")]) -> None:
    """Refuse a key from now on; in seconds, wherever it was just used."""
    with_connection(lambda c: revoke_key(c, name))
    typer.echo(f"revoked {name}")


@keys_app.command("rotate-master")
def keys_rotate_master(*, as_json: AsJson = False) -> None:
    """Wrap every key with the first master key; safe to kill and to run again."""

    async def run(ledger: Ledger) -> tuple[int, InUse]:
        rotation = Rotation(ledger.pool, ledger.masters)
        before = await rotation.in_use()
        with shown_progress("keys wrapped anew", before.left) as advance:
            done = await rotation.run(advance)
        return done, await rotation.in_use()

    done, in_use = with_ledger(run)
    _print_rotation(done, in_use, as_json=as_json)
    if in_use.left:
        raise typer.Exit(1)


def _print_rotation(done: int, in_use: InUse, *, as_json: bool) -> None:
    if as_json:
        answer = {"rewrapped": done, "current": in_use.current, "inUse": in_use.keys}
        typer.echo(orjson.dumps(answer).decode())
        return
    typer.echo(f"{done} keys wrapped anew")
    for name, count in in_use.keys.items():
        typer.echo(f"master key {name} is in use, by {count} keys")
    typer.echo(_advice(in_use))


def _advice(in_use: InUse) -> str:
    if in_use.left:
        return (
            f"{in_use.left} keys were wrapped with another master key meanwhile: some "
            "process has that one first, or alone. Give it the new one, and run this "
            "again"
        )
    return f"every master key but {in_use.current} may be removed from the settings"
