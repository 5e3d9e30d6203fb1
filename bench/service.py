"""Starts and stops what is measured: the service as shipped, and a constant handler.

The service is ``consent-ledger serve --workers 2`` on an embedded PostgreSQL in a fresh
folder. The subtle part is who starts that PostgreSQL: we do, with the shipped settings
but one, and the service joins it. pgbench's 64 clients need more connections than are
shipped, and a connection that nobody uses costs the others nothing.
"""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from bench.database import Database
from ledger.store.embedded import SHIPPED_SETTINGS, EmbeddedPostgres

ACCOUNT_SID: Final = f"AC{'b' * 32}"
AUTH_TOKEN: Final = "a-token-for-the-bench-and-nothing-else"
ADMIN_KEY: Final = "clk_an-admin-key-for-the-bench"
BEARER: Final = f"Bearer {ADMIN_KEY}"
WORKERS: Final = 2
CONNECTIONS: Final = 120
START_SECONDS_MAX: Final = 240
"""A projector that starts 500,000 events behind is ready when they are shown."""
STOP_SECONDS_MAX: Final = 60

_AS_SHIPPED: Final[Mapping[str, str]] = MappingProxyType({})
_BIN: Final = Path(sys.executable).parent
_ROOT: Final = Path(__file__).resolve().parent.parent


class NotStarted(Exception):
    """What is to be measured did not start; the message ends with what it printed."""


@dataclass(frozen=True, slots=True)
class Running:
    """A server under a base URL, and the process that keeps it."""

    url: str
    port: int
    pid: int


@contextmanager
def postgres(folder: Path) -> Iterator[Database]:
    """The embedded PostgreSQL in ``folder``, with the service's database empty."""
    settings = {**SHIPPED_SETTINGS, "max_connections": str(CONNECTIONS)}
    embedded = EmbeddedPostgres(folder, settings=settings)
    dsn = embedded.start()
    try:
        yield Database(dsn, embedded.bin_dir, folder)
    finally:
        embedded.stop()


@contextmanager
def serve(
    folder: Path, *, is_sealed: bool = True, more: Mapping[str, str] = _AS_SHIPPED
) -> Iterator[Running]:
    """The service as shipped, on the PostgreSQL in ``folder``, until it is ready.

    ``more`` are settings that are not as shipped.
    """
    port = _free_port()
    command = [_BIN / "consent-ledger", "serve", "--workers", str(WORKERS)]
    env = {**environment(folder, port, is_sealed=is_sealed), **more}
    with _process(command, env, folder / "serve.log") as process:
        running = Running(f"http://127.0.0.1:{port}", port, process.pid)
        _wait_until_ready(running, "/readyz", process, folder / "serve.log")
        yield running


@contextmanager
def project(folder: Path, *, is_sealed: bool = True) -> Iterator[Running]:
    """The projector alone, as ``consent-ledger project`` starts it."""
    env = environment(folder, 0, is_sealed=is_sealed)
    with projecting(env, folder / "project.log") as process:
        yield Running("", 0, process.pid)


@contextmanager
def projecting(env: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The projector's process, with an environment of the caller's."""
    command = [_BIN / "consent-ledger", "project"]
    with _process(command, env, log) as process:
        yield process


@contextmanager
def constant_handler(folder: Path, body: bytes) -> Iterator[Running]:
    """An aiohttp handler that answers ``body``, on the same kind of workers."""
    port = _free_port()
    file = folder / "constant.json"
    file.write_bytes(body)
    command = [_BIN / "gunicorn", "bench.constant:make_app", "--bind"]
    command += [f"127.0.0.1:{port}", "--workers", str(WORKERS), "--keep-alive", "75"]
    command += ["--worker-class", "aiohttp.GunicornUVLoopWebWorker"]
    command += ["--log-level", "warning"]
    log = folder / "constant.log"
    more = {**os.environ, "BENCH_CONSTANT_BODY": str(file)}
    with _process(command, more, log) as process:
        running = Running(f"http://127.0.0.1:{port}", port, process.pid)
        _wait_until_ready(running, "/", process, log)
        yield running


def environment(folder: Path, port: int, *, is_sealed: bool = True) -> dict[str, str]:
    """The caller's environment, without its ledger and with ours."""
    ours = ("LEDGER_", "TWILIO_", "DATABASE_URL", "PUBLIC_URL", "PROMETHEUS_")
    kept = {n: v for n, v in os.environ.items() if not n.startswith(ours)}
    if not is_sealed:
        kept["PYTHONPATH"] = str(_ROOT / "bench" / "unsealed")
    return kept | {
        "LEDGER_DATA_DIR": str(folder),
        "LEDGER_PORT": str(port),
        "LEDGER_ADMIN_KEY": ADMIN_KEY,
        "TWILIO_ACCOUNT_SID": ACCOUNT_SID,
        "TWILIO_AUTH_TOKEN": AUTH_TOKEN,
    }


def get(url: str) -> tuple[int, bytes]:
    """Status and body of one GET with the admin key."""
    # Only ever our own servers on 127.0.0.1.
    request = urllib.request.Request(  # noqa: S310
        url, headers={"Authorization": BEARER}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@contextmanager
def _process(
    command: Sequence[object], env: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as output:
        process = subprocess.Popen(
            [str(part) for part in command],
            env=dict(env),
            cwd=_ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Ctrl-C is ours to handle, so that all is stopped in order.
            start_new_session=True,
        )
    try:
        yield process
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait_until_ready(
    running: Running, path: str, process: subprocess.Popen[bytes], log: Path
) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if get(running.url + path)[0] == 200:
                return
        except OSError:
            pass  # It does not listen yet.
        time.sleep(0.1)
    end = log.read_text(errors="replace")[-3000:]
    raise NotStarted(f"{process.args!r} is not ready; it said:\n{end}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
