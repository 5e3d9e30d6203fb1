"""The PostgreSQL that needs no set-up: the wheel's binaries on a folder of ours.

Never listens on TCP, and never takes a process id for proof: ids are used again. Three
files beside the database say who is there, by flock, which kill -9 frees too:

- ``control.lock``: held while somebody starts or stops the server;
- ``users.lock``: shared by all who use it, so the last one out knows that it is last;
- ``server.lock``: inherited by the postmaster and all it forks, so it is free only when
  the last orphan has let go of the shared memory.
"""

import fcntl
import os
import shlex
import shutil
import socket
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import IO
from urllib.parse import quote

from ledger.errors import ConfigurationError
from ledger.store.programs import (
    MAJOR_VERSION,
    Account,
    account_for,
    let_pass,
    run,
    run_client,
    wheel_bin_dir,
)

DATABASE = "consent_ledger"
WAIT_SECONDS_MAX = 300  # a recovery reads about max_wal_size at most
POLL_SECONDS = 0.02
PROBE_SECONDS_MAX = 1
SOCKET_PATH_BYTES_MAX = 103  # macOS; Linux has 107

SHIPPED_SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        # An acknowledged signal survives a power cut; it takes all three.
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        # Web processes, projections, the command line and an operator's psql.
        "max_connections": "60",
        # Keys and recent events stay in memory. Pages never used cost a small machine
        # nothing, and ordinary pages serve where no huge ones are reserved.
        "shared_buffers": "256MB",
        "huge_pages": "try",
        # After a checkpoint each page is logged whole once: small, then, and rarely.
        "wal_compression": "on",
        "max_wal_size": "4GB",
        "checkpoint_timeout": "15min",
        # Read-model rows are rewritten; somebody must clean up after them.
        "autovacuum": "on",
        # Statements are short: compiling or splitting them costs more than it saves.
        "jit": "off",
        "max_parallel_workers_per_gather": "0",
        # Solid-state discs read anywhere at about the same price.
        "random_page_cost": "1.1",
        # One clock in rows and in the log, whatever the machine's zone is.
        "timezone": "UTC",
        "log_timezone": "UTC",
        # DETAIL quotes the refused row: phone numbers stay out of the log.
        "log_error_verbosity": "terse",
    }
)

_INITDB = (
    "--username=postgres",
    "--auth-local=trust",  # who can enter the socket's folder owns the data anyway
    "--auth-host=reject",
    "--data-checksums",
    "--encoding=UTF8",
    "--locale-provider=builtin",  # sorts alike whatever locales are installed
    "--builtin-locale=C.UTF-8",
    "--locale=C",
)
_READY, _REJECTING, _SILENT = range(3)  # what pg_isready exits with


def running_dsn(data_dir: Path) -> str | None:
    """The DSN of a live server on ``data_dir``, or None; never starts one.

    The caller does not count as a user, so the server may be stopped under it.
    """
    socket_dir = _socket_dir(_pgdata(data_dir))
    if socket_dir is None or not _has_database(socket_dir):
        return None
    return _dsn(socket_dir)


class EmbeddedPostgres:
    """One process's use of the server on ``data_dir``; the last user stops it."""

    def __init__(
        self, data_dir: Path, *, settings: Mapping[str, str] = SHIPPED_SETTINGS
    ) -> None:
        self._pgdata = _pgdata(data_dir)
        self._data_dir = self._pgdata.parent
        self._settings = settings
        self._users: IO[bytes] | None = None
        self._process_id = 0

    @property
    def bin_dir(self) -> Path:
        """The folder of psql, pg_dump and the like."""
        return wheel_bin_dir()

    def start(self) -> str:
        """Start the server or join it, and block until the database can be used.

        The settings apply if this process is the one that starts it.

        Raises:
            ConfigurationError: it cannot run here; the message says what to change.
        """
        try:
            self._data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._open("control.lock") as control:
                fcntl.flock(control, fcntl.LOCK_EX)
                self._join()
                return self._ensure_database(self._ensure_running())
        except OSError as error:
            self._leave()
            raise ConfigurationError(
                f"PostgreSQL cannot use {self._data_dir}: {error}. Let this user write "
                "there, or set LEDGER_DATA_DIR to a folder where it can"
            ) from error
        except ConfigurationError:
            self._leave()  # and no stop: a slow recovery had better go on
            raise
        except BaseException:
            self.stop()  # Ctrl-C: nobody else would stop what was just started
            raise

    def is_running(self) -> bool:
        """Whether somebody listens on the socket, ready or not; asked often, so cheap.

        Takes no lock: a fork at this moment would keep it.
        """
        socket_dir = _socket_dir(self._pgdata)
        if socket_dir is None:
            return False
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(PROBE_SECONDS_MAX)
            try:
                probe.connect(str(socket_dir / ".s.PGSQL.5432"))
            except TimeoutError:  # somebody, but busy
                return True
            except OSError:
                return False
        return True

    def stop(self) -> None:
        """Leave the server, and shut it down if nobody else uses it."""
        if self._process_id != os.getpid():
            self._leave()  # a fork of the user: closing its copy frees nothing
        if self._users is None:
            return
        with self._open("control.lock") as control:
            fcntl.flock(control, fcntl.LOCK_EX)
            try:
                if _take(self._users):
                    self._shut_down()
            finally:
                self._leave()

    def _join(self) -> None:
        if self._users is None:
            self._users = self._open("users.lock")
            self._process_id = os.getpid()
        fcntl.flock(self._users, fcntl.LOCK_SH)

    def _leave(self) -> None:
        users, self._users = self._users, None
        if users is not None:
            users.close()

    def _ensure_running(self) -> Path:
        """Wait for a server that answers; launch one once nothing of another is left.

        All that may still touch the data holds ``server.lock``: a server in recovery or
        shutdown, backends that outlive a killed postmaster, an initdb whose caller was
        killed. So either it is waited for or it is gone.
        """
        launched = False
        pause_seconds = POLL_SECONDS
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        while time.monotonic() < deadline:
            socket_dir = _socket_dir(self._pgdata)
            if socket_dir is not None and _answer(socket_dir) == _READY:
                return socket_dir
            with self._open("server.lock") as lock:
                if _take(lock):
                    if launched:
                        raise self._failure("PostgreSQL did not start")
                    self._launch(lock)
                    launched = True
            time.sleep(pause_seconds)
            pause_seconds *= 1.2  # a server in recovery logs every time it is asked
        raise self._failure(f"PostgreSQL is not ready after {WAIT_SECONDS_MAX} seconds")

    def _launch(self, lock: IO[bytes]) -> None:
        """Start the postmaster, which keeps ``lock`` until its last process ends."""
        account = account_for(self._pgdata)
        if account is not None:
            let_pass(account, self._data_dir)
        if self._pgdata.exists() and any(self._pgdata.iterdir()):
            self._refuse_other_version()
        else:
            self._initialise(lock, account)
        # Stale, since the lock is ours. PostgreSQL would refuse to start if their pid
        # is anybody's today. Its key to the shared memory still forbids two servers.
        for stale in ("postmaster.pid", ".s.PGSQL.5432.lock", ".s.PGSQL.5432"):
            (self._pgdata / stale).unlink(missing_ok=True)
        options = {
            **self._settings,
            "listen_addresses": "",
            "unix_socket_directories": str(_make_socket_dir(self._pgdata, account)),
            "unix_socket_permissions": "0700",
            "port": "5432",
        }
        arguments = [f"--{name}={value}" for name, value in options.items()]
        # The shell hands it over to init, so that nobody of ours has to reap it.
        shell = ["/bin/sh", "-c", '"$@" &', "sh"]
        postgres = [
            *shell,
            wheel_bin_dir() / "postgres",
            "-D",
            self._pgdata,
            *arguments,
        ]
        with self._open("postgres.log") as log:
            run(postgres, account=account, lock=lock, output=log)

    def _initialise(self, lock: IO[bytes], account: "Account | None") -> None:
        """Make the cluster beside its place: what has the name is complete."""
        unfinished = self._pgdata.with_name("postgres.unfinished")
        if unfinished.exists():
            shutil.rmtree(unfinished)
        unfinished.mkdir(mode=0o700)
        if account is not None:
            os.chown(unfinished, *account)
        initdb = [wheel_bin_dir() / "initdb", "-D", unfinished, *_INITDB]
        done = run(initdb, account=account, lock=lock)
        if done.returncode != 0:
            raise ConfigurationError(f"initdb failed: {done.stdout.decode().strip()}")
        unfinished.rename(self._pgdata)
        # From here on signals are acknowledged, so the name must survive a power cut.
        for folder in (self._data_dir, self._data_dir.parent):
            _sync(folder)

    def _refuse_other_version(self) -> None:
        file = self._pgdata / "PG_VERSION"
        version = file.read_text().strip() if file.exists() else "none"
        if version != MAJOR_VERSION:
            raise ConfigurationError(
                f"{self._pgdata} is of PostgreSQL {version}, and this is "
                f"{MAJOR_VERSION}: move it away, or dump it with its own version's "
                "pg_dump and restore it here"
            )

    def _ensure_database(self, socket_dir: Path) -> str:
        if not _has_database(socket_dir):
            done = run_client("createdb", socket_dir, DATABASE)
            if done.returncode != 0:
                raise self._failure(done.stdout.decode().strip())
        return _dsn(socket_dir)

    def _shut_down(self) -> None:
        """Return only when the last process of the server has ended."""
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        while time.monotonic() < deadline:
            socket_dir = _socket_dir(self._pgdata)
            if socket_dir is not None:
                self._stop_postmaster(socket_dir, _answer(socket_dir))
            with self._open("server.lock") as lock:
                if _take(lock):
                    return
            time.sleep(POLL_SECONDS)
        raise self._failure(f"PostgreSQL still runs after {WAIT_SECONDS_MAX} seconds")

    def _stop_postmaster(self, socket_dir: Path, answer: int) -> None:
        """Ask it to stop, in the way it can: both ways keep what was committed.

        Asked for a fast shutdown while it recovers from the crash of a backend,
        PostgreSQL 18.4 hangs for good; an immediate one leaves the recovery to the next
        start. The same helps when a fast shutdown takes too long.
        """
        if answer == _SILENT:
            return
        mode = "fast" if answer == _READY else "immediate"
        command = (wheel_bin_dir() / "pg_ctl", "stop", "-D", self._pgdata, "-m", mode)
        wait = ("-w", "-t", WAIT_SECONDS_MAX // 5)
        run([*command, *wait], account=account_for(self._pgdata))
        if socket_dir != self._pgdata:
            with suppress(OSError):
                socket_dir.rmdir()

    def _failure(self, what: str) -> ConfigurationError:
        """``what``, with the end of the server's log, which knows why."""
        log = self._data_dir / "postgres.log"
        text = log.read_text(errors="replace") if log.exists() else ""
        end = "\n".join(text.splitlines()[-10:])
        return ConfigurationError(f"{what}; the end of {log} says:\n{end}")

    def _open(self, name: str) -> IO[bytes]:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND
        return os.fdopen(os.open(self._data_dir / name, flags, 0o600), "ab")


def _pgdata(data_dir: Path) -> Path:
    return data_dir.resolve() / "postgres"


def _socket_dir(pgdata: Path) -> Path | None:
    """Where the last server on this very folder, not on a copy of it, listened."""
    try:
        lines = (pgdata / "postmaster.pid").read_text().splitlines()
    except OSError:
        return None
    if len(lines) < 5 or lines[1] != str(pgdata):  # noqa: PLR2004 line 5 is the socket's
        return None
    return Path(lines[4])


def _make_socket_dir(pgdata: Path, account: Account | None) -> Path:
    """The data folder itself, or a new private one where its path would not do."""
    path = str(pgdata / ".s.PGSQL.5432")
    if len(path) <= SOCKET_PATH_BYTES_MAX and shlex.quote(path) == path:  # plain ASCII
        return pgdata
    # Not TMPDIR, which may be long too.
    short = Path(tempfile.mkdtemp(prefix="consent-ledger-", dir="/tmp"))
    if account is not None:
        os.chown(short, *account)
    return short


def _dsn(socket_dir: Path) -> str:
    return f"postgresql://postgres@/{DATABASE}?host={quote(str(socket_dir))}"


def _answer(socket_dir: Path) -> int:
    return run_client("pg_isready", socket_dir).returncode


def _has_database(socket_dir: Path) -> bool:
    done = run_client("psql", socket_dir, "--no-psqlrc", "--command=", DATABASE)
    return done.returncode == 0


def _take(lock: IO[bytes]) -> bool:
    """Whether no other holds it; if so it is ours until every copy is closed."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
