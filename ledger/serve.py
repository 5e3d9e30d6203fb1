"""``consent-ledger serve``: the web processes, and the projector beside them.

gunicorn starts, watches and replaces the web processes; a thread does the same for the
projector and the embedded PostgreSQL. Stopping is in the order of the flow: the web
processes answer what they accepted, then the projector ends, then (by whoever started
it) the database. The subtle part is who survives whom: a projector whose parent was
killed notices that its standard input has closed, and ends, so nothing is left behind.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import typer
from aiohttp import web
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter

from ledger.settings import Settings
from ledger.store.embedded import EmbeddedPostgres

_WATCH_SECONDS = 0.5


class Server:
    """Everything that ``serve`` keeps running."""

    def __init__(
        self, settings: Settings, dsn: str, embedded: EmbeddedPostgres | None
    ) -> None:
        self._settings = settings
        self._dsn = dsn
        self._watcher = _Watcher(settings, embedded)

    def run(self) -> None:
        """Run until SIGTERM or SIGINT; all has ended, but the database, on return."""
        counts = tempfile.mkdtemp(prefix="consent-ledger-metrics-")
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = counts
        _greet(self._settings)
        self._watcher.start()
        owner = os.getpid()
        try:
            _Gunicorn(self._settings, self._make_app).run()
        finally:
            # A web process is a fork and leaves through here as well.
            if os.getpid() == owner:
                self._watcher.stop()
                shutil.rmtree(counts, ignore_errors=True)

    async def _make_app(self) -> web.Application:
        # Imported in the web process, where the folder for its counts is known.
        from ledger.app import make_app  # noqa: PLC0415

        return await make_app(self._dsn, self._settings)


class _Watcher:
    """Keeps the projector, and the embedded PostgreSQL, running."""

    def __init__(self, settings: Settings, embedded: EmbeddedPostgres | None) -> None:
        self._settings = settings
        self._embedded = embedded
        self._stopping = threading.Event()
        self._projector: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def start(self) -> None:
        """Start the projector, and whatever has died, again and again."""
        self._thread.start()

    def stop(self) -> None:
        """Let the projector finish its batch, then end it."""
        self._stopping.set()
        self._thread.join()
        if self._projector is None:
            return
        self._projector.terminate()
        try:
            self._projector.wait(self._settings.stop_seconds_max)
        except subprocess.TimeoutExpired:
            self._projector.kill()

    def _watch(self) -> None:
        while not self._stopping.is_set():
            if self._embedded is not None and not self._embedded.is_running():
                self._embedded.start()
            if self._settings.project_in_serve and not self._is_projecting():
                self._projector = self._start_projector()
            self._stopping.wait(_WATCH_SECONDS)

    def _is_projecting(self) -> bool:
        return self._projector is not None and self._projector.poll() is None

    def _start_projector(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "ledger", "project", "--child"],
            stdin=subprocess.PIPE,
            # Ctrl-C is the parent's to handle, and it stops us in order.
            start_new_session=True,
        )


class _Gunicorn(BaseApplication):  # type: ignore[misc] # it has no types
    """gunicorn, configured by our settings alone."""

    def __init__(
        self, settings: Settings, factory: Callable[[], Awaitable[web.Application]]
    ) -> None:
        self._settings = settings
        self._factory = factory
        super().__init__()

    def load_config(self) -> None:
        """What gunicorn needs to know."""
        settings = self._settings
        values: dict[str, Any] = {
            "bind": f"{settings.host}:{settings.port}",
            "workers": settings.workers,
            "worker_class": "aiohttp.GunicornUVLoopWebWorker",
            "graceful_timeout": settings.stop_seconds_max,
            "timeout": 60,
            "keepalive": 75,
            "accesslog": None,
            "loglevel": "warning",
            "proc_name": "consent-ledger",
            "control_socket_disable": True,
            "child_exit": _forget_gauges,
        }
        for name, value in values.items():
            self.cfg.set(name, value)

    def load(self) -> Callable[[], Awaitable[web.Application]]:
        """Called in each web process; aiohttp's worker awaits the result."""
        return self._factory


def _forget_gauges(_: Arbiter, worker: Any) -> None:  # noqa: ANN401 - gunicorn's
    # Imported here: the library looks for its folder when it is imported.
    from prometheus_client.multiprocess import mark_process_dead  # noqa: PLC0415

    mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


def _greet(settings: Settings) -> None:
    """Say on standard output where we are and what to try."""
    lines = [f"listening on http://{settings.host}:{settings.port}"]
    if settings.is_embedded:
        token, key = settings.twilio_auth_token, settings.admin_key
        lines += [
            f"database     embedded PostgreSQL 18 in {settings.data_dir.resolve()}",
            f"account      {settings.twilio_account_sid}",
            f"auth token   {token.get_secret_value() if token else ''}",
            f"admin key    {key.get_secret_value() if key else ''}",
            "try          .venv/bin/consent-ledger simulate +14155550100 STOP",
        ]
    typer.echo("\n".join(lines))
    sys.stdout.flush()
