"""``consent-ledger serve``: the web processes, and the projector beside them.

gunicorn starts, watches and replaces the web processes; a thread does the same for the
projector and the embedded PostgreSQL. Stopping is in the order of the flow: the web
processes answer what they accepted, then the projector ends, then (by whoever started
it) the database. The subtle part is who survives whom when we are killed: the web
processes notice, answer and end; the projector's standard input closes with the last of
them, and being the last who uses it, the projector stops the database.
"""

import errno
import logging
import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import typer
from aiohttp import web
from aiohttp.worker import GunicornUVLoopWebWorker
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger as GunicornLog

from ledger.errors import ConfigurationError
from ledger.master_key import MASTER_KEY_FILE
from ledger.settings import Settings
from ledger.store.embedded import EmbeddedPostgres

log = logging.getLogger(__name__)

_MakeRunner = Callable[[Sequence[socket.socket]], Awaitable[web.AppRunner]]

_BACKLOG = 2048
# Longer than the proxies before us keep one, so that it is they who end it.
_KEEP_ALIVE_SECONDS = 75.0
_NEXT_COMMAND = ".venv/bin/consent-ledger simulate +14155550100 STOP"
_PORT_SECONDS_MAX = 3.0
_PORT_POLL_SECONDS = 0.05
_WATCH_SECONDS = 0.5


def listen(settings: Settings) -> socket.socket:
    """Take the port, before anything is started that another service may be using.

    The web processes of a service that was killed hold it for a second or so.

    Raises:
        ConfigurationError: it cannot be had.
    """
    address = (settings.host, settings.port)
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    deadline = time.monotonic() + _PORT_SECONDS_MAX
    while True:
        try:
            return socket.create_server(address, family=family, backlog=_BACKLOG)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                raise ConfigurationError(
                    f"cannot listen on {settings.host}:{settings.port}: "
                    f"{error.strerror}; stop who does, or set LEDGER_PORT"
                ) from error
        time.sleep(_PORT_POLL_SECONDS)


class Server:
    """Everything that ``serve`` keeps running."""

    def __init__(
        self,
        settings: Settings,
        dsn: str,
        embedded: EmbeddedPostgres | None,
        listener: socket.socket,
    ) -> None:
        self._settings = settings
        self._dsn = dsn
        self._listener = listener
        self._watcher = _Watcher(settings, embedded)

    def run(self) -> None:
        """Run until SIGTERM or SIGINT; all has ended, but the database, on return."""
        owner = os.getpid()
        counts = tempfile.mkdtemp(prefix="consent-ledger-metrics-")
        try:
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = counts
            self._watcher.start()
            _greet(self._settings)
            # Ours no more: gunicorn closes it when it is to stop accepting.
            descriptor = self._listener.detach()
            _Gunicorn(self._settings, self._make_runner, descriptor).run()
        finally:
            # A web process is a fork and leaves through here as well.
            if os.getpid() == owner:
                self._watcher.stop()
                shutil.rmtree(counts, ignore_errors=True)

    async def _make_runner(self, listeners: Sequence[socket.socket]) -> web.AppRunner:
        # Imported in the web process, where the folder for its counts is known.
        from ledger.app import make_app  # noqa: PLC0415
        from ledger.connections import Runner  # noqa: PLC0415

        return Runner(
            await make_app(self._dsn, self._settings),
            access_log=None,
            keepalive_timeout=_KEEP_ALIVE_SECONDS,
            listeners=listeners,
            # Before gunicorn's own patience ends.
            shutdown_timeout=0.95 * self._settings.stop_seconds_max,
        )


class _Watcher:
    """Keeps the projector, and the embedded PostgreSQL, running.

    By processes and never in its thread: gunicorn's main thread forks, and a fork would
    keep whatever lock is held at that moment; and it waits for any child, so that
    nobody else here can rely on an exit code.
    """

    def __init__(self, settings: Settings, embedded: EmbeddedPostgres | None) -> None:
        self._settings = settings
        self._embedded = embedded
        self._stopping = threading.Event()
        self._projector: subprocess.Popen[bytes] | None = None
        self._reviver: subprocess.Popen[bytes] | None = None
        # The web processes inherit the writing end and nobody ever writes: it closes
        # when the last of us is gone.
        self._input, self._input_end = os.pipe()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._starting = threading.Lock()

    def start(self) -> None:
        """Start the projector, and whatever has died, again and again."""
        # Popen waits until a pipe of its own is closed. A web process that is forked
        # meanwhile has a copy of it and never closes it, so no fork may come between.
        os.register_at_fork(
            before=self._starting.acquire,
            after_in_parent=self._starting.release,
            after_in_child=self._starting.release,
        )
        self._thread.start()

    def stop(self) -> None:
        """Let the projector finish its batch, then end it."""
        self._stopping.set()
        self._thread.join()
        for process in (self._reviver, self._projector):
            if process is not None:
                self._end(process)

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        process.terminate()
        try:
            process.wait(self._settings.stop_seconds_max)
        except subprocess.TimeoutExpired:
            process.kill()

    def _watch(self) -> None:
        while not self._stopping.is_set():
            try:
                self._start_what_died()
            except OSError:  # no process or memory to be had now
                log.exception("start_failed")
            self._stopping.wait(_WATCH_SECONDS)

    def _start_what_died(self) -> None:
        embedded = self._embedded
        if embedded and not _lives(self._reviver) and not embedded.is_running():
            self._reviver = self._spawn("revive")
        if self._settings.project_in_serve and not _lives(self._projector):
            self._projector = self._spawn("project", "--child")

    def _spawn(self, *command: str) -> subprocess.Popen[bytes]:
        with self._starting:
            return subprocess.Popen(  # noqa: S603 every argument is ours
                [sys.executable, "-m", "ledger", *command],
                stdin=self._input,
                # Ctrl-C is the parent's to handle, and it stops us in order.
                start_new_session=True,
            )


def _lives(process: subprocess.Popen[bytes] | None) -> bool:
    return process is not None and process.poll() is None


class _GunicornLog(GunicornLog):  # type: ignore[misc] # it has no types
    """gunicorn's log, which is aiohttp's too, in our form and with our restraint."""

    def setup(self, cfg: Any) -> None:  # noqa: ANN401 - gunicorn's
        """Leave its lines to the root logger, which never shows what was sent."""
        super().setup(cfg)
        self.error_log.handlers.clear()
        self.error_log.propagate = True


class _Worker(GunicornUVLoopWebWorker):
    """aiohttp's web process, which leaves to us how connections are taken."""

    wsgi: Any
    sockets: list[Any]

    def load_wsgi(self) -> None:
        """Make the runner with the sockets, and leave none to aiohttp."""
        super().load_wsgi()
        make_runner: _MakeRunner = self.wsgi
        listeners = [each.sock for each in self.sockets]

        async def runner() -> web.AppRunner:
            return await make_runner(listeners)

        self.wsgi, self.sockets = runner, []


class _Gunicorn(BaseApplication):  # type: ignore[misc] # it has no types
    """gunicorn, configured by our settings alone."""

    def __init__(
        self,
        settings: Settings,
        factory: _MakeRunner,
        descriptor: int,
    ) -> None:
        self._settings = settings
        self._factory = factory
        self._descriptor = descriptor
        super().__init__()

    def load_config(self) -> None:
        """What gunicorn needs to know."""
        settings = self._settings
        values: dict[str, Any] = {
            "bind": f"fd://{self._descriptor}",
            "workers": settings.workers,
            "worker_class": _Worker,
            "graceful_timeout": settings.stop_seconds_max,
            "timeout": 60,
            "accesslog": None,
            "loglevel": "warning",
            "logger_class": _GunicornLog,
            "proc_name": "consent-ledger",
            "control_socket_disable": True,
            "child_exit": _forget_gauges,
        }
        for name, value in values.items():
            self.cfg.set(name, value)

    def load(self) -> _MakeRunner:
        """Called in each web process."""
        return self._factory


def _forget_gauges(_: Arbiter, worker: Any) -> None:  # noqa: ANN401 - gunicorn's
    # Imported here: the library looks for its folder when it is imported.
    from prometheus_client.multiprocess import mark_process_dead  # noqa: PLC0415

    mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


def _master_key(settings: Settings) -> str:
    given = (settings.master_key, settings.master_key_file, settings.master_key_command)
    if any(value is not None for value in given):
        return "as it was set"
    file = settings.data_dir.resolve() / MASTER_KEY_FILE
    return f"{file} (back it up, apart: without it nobody knows whose the history is)"


def _needed(settings: Settings) -> str:
    """The settings that the next command needs to find this service."""
    defaults = Settings()
    given = {
        "LEDGER_PORT": (settings.port, defaults.port),
        "LEDGER_DATA_DIR": (settings.data_dir, defaults.data_dir),
    }
    return "".join(
        f"{name}={shlex.quote(str(value))} "
        for name, (value, default) in given.items()
        if value != default
    )


def _greet(settings: Settings) -> None:
    """Say on standard output where we are and what to try."""
    lines = [f"listening on http://{settings.host}:{settings.port}"]
    if settings.is_embedded:
        token, key = settings.twilio_auth_token, settings.admin_key
        lines += [
            f"database     embedded PostgreSQL 18 in {settings.data_dir.resolve()}",
            f"master key   {_master_key(settings)}",
            f"account      {settings.twilio_account_sid}",
            f"auth token   {token.get_secret_value() if token else ''}",
            f"admin key    {key.get_secret_value() if key else ''}",
            f"try          {_needed(settings)}{_NEXT_COMMAND}",
        ]
    typer.echo("\n".join(lines))
    sys.stdout.flush()
