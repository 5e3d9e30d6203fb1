"""The PostgreSQL that needs no set-up: the wheel's binaries on a folder of ours.

Never listens on TCP, and never concludes anything from a process id: ids are re-used.
Three files beside the database say who is there. They are locked with flock, so kill -9
frees them:

- ``control.lock``: held while somebody starts or stops the server;
- ``users.lock``: shared by all who use it, so the last one out knows that it is last;
- ``server.lock``: inherited by the postmaster and everything it forks, so it is free
  only when the last orphan has let go of the shared memory.
"""

import fcntl
import importlib.util
import os
import pwd
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO
from urllib.parse import quote

from ledger.errors import ConfigurationError

MAJOR_VERSION = "18"
DATABASE = "consent_ledger"
SYSTEM_USER = "pgserver"  # who runs it for root; the name is the wheel's own choice
START_SECONDS_MAX = 300  # a crash recovery reads at most max_wal_size
SOCKET_PATH_BYTES_MAX = 103  # macOS; Linux allows 107

SHIPPED_SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        # An acknowledged signal survives a power cut; all three are needed for that.
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        # Web processes, projections, the command line and an operator's psql.
        "max_connections": "60",
        # Keys and recent events stay in memory; untouched pages cost a laptop nothing,
        # and where no huge pages are reserved, ordinary ones do.
        "shared_buffers": "256MB",
        "huge_pages": "try",
        # A page is logged whole once per checkpoint: write it small, and rarely.
        "wal_compression": "on",
        "max_wal_size": "4GB",
        "checkpoint_timeout": "15min",
        # Old versions of read-model rows are cleaned up without anybody asking.
        "autovacuum": "on",
        # Statements are short: compiling or sharing them out costs more than it saves,
        # and the cores belong to the writers.
        "jit": "off",
        "max_parallel_workers_per_gather": "0",
        # Discs of today read anywhere at about the same price.
        "random_page_cost": "1.1",
        # One clock in rows and log, whatever the machine's zone is.
        "timezone": "UTC",
        "log_timezone": "UTC",
        # DETAIL quotes the row that was refused: phone numbers stay out of the log.
        "log_error_verbosity": "terse",
    }
)

_READY, _REJECTING, _SILENT = range(3)  # exit codes of pg_isready
_INITDB = (
    "--username=postgres --auth-local=trust --auth-host=reject --data-checksums "
    # Built in, so that sorting does not change with the machine's C library.
    "--encoding=UTF8 --locale-provider=builtin --builtin-locale=C.UTF-8 --locale=C"
).split()


class EmbeddedPostgres:
    """One process's use of the server on ``data_dir``; the last user stops it."""

    def __init__(
        self, data_dir: Path, *, settings: Mapping[str, str] = SHIPPED_SETTINGS
    ) -> None:
        self._data_dir = data_dir.resolve()
        self._pgdata = self._data_dir / "postgres"
        self._log = self._data_dir / "postgres.log"
        self._settings = settings
        self._users: BinaryIO | None = None
        self._process_id = 0

    @property
    def bin_dir(self) -> Path:
        """The folder of postgres, psql, pg_dump and the like."""
        return _bin_dir()

    def start(self) -> str:
        """Start or join the server and give its DSN; ``settings`` are the starter's.

        Raises:
            ConfigurationError: it cannot run here; the message says what to change.
        """
        try:
            self._data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _opened(self._data_dir / "control.lock") as control:
                fcntl.flock(control, fcntl.LOCK_EX)
                self._join_users()
                return self._ensure_database(self._ensure_running())
        except OSError as error:
            self._leave()
            raise ConfigurationError(
                f"PostgreSQL cannot use {self._data_dir}: {error}. Make it writable for "
                "this user, or set LEDGER_DATA_DIR to a folder that is"
            ) from error
        except Exception:
            self._leave()  # a server that recovers for too long had better go on
            raise
        except BaseException:  # Ctrl-C: nobody will come to stop what was started
            self.stop()
            raise

    def stop(self) -> None:
        """Leave the server, and shut it down if nobody else uses it."""
        if self._users is None:
            return
        if os.getpid() != self._process_id:  # a fork: the lock is its parent's
            self._leave()
            return
        with _opened(self._data_dir / "control.lock") as control:
            fcntl.flock(control, fcntl.LOCK_EX)
            try:
                if _is_locked_by(self._users):
                    self._shut_down()
            finally:
                self._leave()

    def _join_users(self) -> None:
        if self._users is None:
            self._users = _open(self._data_dir / "users.lock")
            self._process_id = os.getpid()
        fcntl.flock(self._users, fcntl.LOCK_SH)

    def _leave(self) -> None:
        users, self._users = self._users, None
        if users is not None:
            users.close()

    def _ensure_running(self) -> Path:
        """Wait until a server answers; start one once nothing of an earlier one lives.

        ``server.lock`` is held by a server that recovers or shuts down, by backends
        that outlive a killed postmaster and by an initdb whose caller was killed, so
        waiting for an answer or for the lock covers all of them.
        """
        launched = False
        deadline = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < deadline:
            socket_dir = _socket_dir(self._pgdata)
            if socket_dir is not None and _ping(socket_dir) == _READY:
                return socket_dir
            with _opened(self._data_dir / "server.lock") as lock:
                if _is_locked_by(lock):
                    if launched:
                        raise self._failure("PostgreSQL did not start")
                    self._launch(lock)
                    launched = True
            time.sleep(0.02)
        raise self._failure(f"PostgreSQL was not ready after {START_SECONDS_MAX} s")

    def _launch(self, lock: BinaryIO) -> None:
        if self._pgdata.exists() and any(self._pgdata.iterdir()):
            self._refuse_other_version()
        else:
            self._initialise(lock)
        # With the lock in hand these are stale, and PostgreSQL would take their pid for
        # a server if any process has it now. What protects the data from a second
        # server is its shared memory, found by the folder's inode, not by this file.
        for stale in ("postmaster.pid", ".s.PGSQL.5432.lock", ".s.PGSQL.5432"):
            (self._pgdata / stale).unlink(missing_ok=True)
        account = _account(self._pgdata)
        settings = {
            **self._settings,
            "listen_addresses": "",
            "unix_socket_directories": str(_make_socket_dir(self._pgdata, account)),
            "unix_socket_permissions": "0700",
            "port": "5432",
        }
        options = [part for item in settings.items() for part in ("-c", "=".join(item))]
        with _open(self._log) as log:
            log.seek(0, os.SEEK_END)
            # The shell makes it init's child, so that nobody here has to reap it, and
            # the session keeps Ctrl-C of our terminal away from it.
            _run(
                ("/bin/sh", "-c", '"$@" &', "sh", str(_bin_dir() / "postgres"))
                + ("-D", str(self._pgdata), *options),
                account=account,
                lock=lock,
                output=log,
            )

    def _initialise(self, lock: BinaryIO) -> None:
        """Make the cluster beside its place: what has the name is complete."""
        unfinished = self._pgdata.with_name("postgres.unfinished")
        if unfinished.exists():
            shutil.rmtree(unfinished)
        unfinished.mkdir(mode=0o700)
        account = _account(unfinished)
        if account:
            _admit(unfinished, account)
        done = _run(
            (str(_bin_dir() / "initdb"), "-D", str(unfinished), *_INITDB),
            account=account,
            lock=lock,
        )
        if done.returncode:
            raise ConfigurationError(f"initdb failed: {done.stdout.decode()}")
        unfinished.rename(self._pgdata)
        # From here on the ledger may acknowledge: the name must outlive a power cut.
        for folder in (self._data_dir, self._data_dir.parent):
            _sync(folder)
