"""The embedded server starts, is shared, is stopped last, and survives kill -9.

Every test has a real server in a folder of its own; nothing is faked but the passing of
a process id to a stranger.
"""

import asyncio
import fcntl
import multiprocessing
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import asyncpg
import psutil
import pytest

from ledger.errors import ConfigurationError
from ledger.store import embedded
from ledger.store.embedded import SHIPPED_SETTINGS, EmbeddedPostgres, running_dsn

REPOSITORY = Path(__file__).parents[2]
SECONDS_MAX = 30

# What a process of ours does: start, say so, work until its input ends, stop.
USER = """
import sys
from pathlib import Path
from ledger.store.embedded import EmbeddedPostgres

server = EmbeddedPostgres(Path(sys.argv[1]))
print(server.start(), flush=True)
sys.stdin.read()
server.stop()
"""


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wait that never ends is a failure, and soon."""
    monkeypatch.setattr(embedded, "WAIT_SECONDS_MAX", SECONDS_MAX)


@pytest.fixture
def new_dir() -> Iterator[Path]:
    """An empty folder with a short path; no server on it outlives the test."""
    with tempfile.TemporaryDirectory(prefix="ledger-") as folder:
        yield Path(folder)
        kill_everything(Path(folder))


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A folder with a cluster that all tests share, since making one takes longest."""
    with tempfile.TemporaryDirectory(prefix="ledger-") as folder:
        first = EmbeddedPostgres(Path(folder))
        first.start()
        first.stop()
        yield Path(folder)


@pytest.fixture
def data_dir(home: Path) -> Iterator[Path]:
    """The shared cluster's folder; no server on it outlives the test."""
    yield home
    kill_everything(home)


@pytest.fixture
def server(data_dir: Path) -> Iterator[EmbeddedPostgres]:
    """A server on the shared cluster, not started."""
    one = EmbeddedPostgres(data_dir)
    yield one
    one.stop()


def test_the_first_start_creates_a_durable_utf8_database(new_dir: Path) -> None:
    """A new folder becomes a checksummed UTF-8 cluster with the settings we ship."""
    server = EmbeddedPostgres(new_dir)
    dsn = server.start()
    shown = {name: value(dsn, f"SHOW {name}") for name in SHIPPED_SETTINGS}
    assert shown == {**SHIPPED_SETTINGS, "wal_compression": "pglz"}
    assert value(dsn, "SHOW server_encoding") == "UTF8"
    assert value(dsn, "SHOW data_checksums") == "on"
    assert value(dsn, "SELECT current_database()") == "consent_ledger"
    locale = "SELECT datlocprovider::text || datlocale FROM pg_database WHERE oid = 1"
    assert value(dsn, locale) == "bC.UTF-8"
    assert value(dsn, "SHOW listen_addresses") == ""
    assert stat.S_IMODE((new_dir / "postgres").stat().st_mode) == 0o700
    server.stop()


def test_a_second_start_joins_the_server(
    data_dir: Path, server: EmbeddedPostgres
) -> None:
    """Who comes second finds the same server and data, and stops nothing."""
    fact = remember(server.start())
    second = EmbeddedPostgres(data_dir)
    assert remembered(second.start(), fact)
    second.stop()
    assert running_dsn(data_dir) is not None


def test_running_dsn_tells_whether_a_server_lives(
    data_dir: Path, server: EmbeddedPostgres
) -> None:
    """There is a DSN from start to stop, and none before or after."""
    before = running_dsn(data_dir)
    during = server.start(), running_dsn(data_dir)
    server.stop()
    assert (before, running_dsn(data_dir)) == (None, None)
    assert during[0] == during[1]


def test_a_copy_of_the_folder_is_not_the_running_server(
    data_dir: Path, new_dir: Path, server: EmbeddedPostgres
) -> None:
    """A copied folder has the original's pid file, and still has no server."""
    server.start()
    (new_dir / "postgres").mkdir()
    shutil.copy(data_dir / "postgres" / "postmaster.pid", new_dir / "postgres")
    assert running_dsn(new_dir) is None


def test_data_outlives_a_stop(server: EmbeddedPostgres) -> None:
    """What was committed before a stop is there after the next start."""
    fact = remember(server.start())
    server.stop()
    assert remembered(server.start(), fact)


def test_stop_may_be_called_at_any_time(
    data_dir: Path, server: EmbeddedPostgres
) -> None:
    """Stopping too early or twice does nothing; once leaves no process behind."""
    server.stop()
    server.start()
    server.stop()
    server.stop()
    assert server_processes(data_dir) == []


def test_two_processes_starting_at_once_share_one_server(new_dir: Path) -> None:
    """Both get the same DSN, and there is one postmaster."""
    with user_of(new_dir) as one, user_of(new_dir) as other:
        assert dsn_of(one) == dsn_of(other)
        parents = {p.ppid() for p in server_processes(new_dir)}
        assert len(parents & {p.pid for p in server_processes(new_dir)}) == 1
    assert server_processes(new_dir) == []


def test_stop_leaves_the_server_to_another_process(
    data_dir: Path, server: EmbeddedPostgres
) -> None:
    """The one who started it may go first; the last one out stops it."""
    server.start()
    with user_of(data_dir) as other:
        dsn = dsn_of(other)
        server.stop()
        assert value(dsn, "SELECT 1") == 1
    assert server_processes(data_dir) == []


def test_a_killed_process_does_not_count_as_a_user(
    data_dir: Path, server: EmbeddedPostgres
) -> None:
    """After kill -9 of the process that started it, the next user stops the server."""
    with user_of(data_dir) as other:
        fact = remember(dsn_of(other))
        other.kill()
        other.wait()
    assert remembered(server.start(), fact)
    server.stop()
    assert server_processes(data_dir) == []


def test_a_fork_of_the_user_stops_nothing(
    data_dir: Path, server: EmbeddedPostgres
) -> None:
    """A worker that inherits the object and calls stop leaves its parent's server."""
    server.start()
    assert exit_code_of_fork(server.stop) == 0
    assert running_dsn(data_dir) is not None


@pytest.mark.parametrize("victims", ["postmaster", "backends", "everything"])
def test_the_next_start_recovers_from_kill_9(
    data_dir: Path, server: EmbeddedPostgres, victims: str
) -> None:
    """Whatever part of the server is killed, what it acknowledged is there again."""
    fact = remember(server.start())
    parent = postmaster(data_dir)
    children = parent.children()
    doomed = {"postmaster": [parent], "backends": children}
    kill(doomed.get(victims, [parent, *children]))
    assert remembered(server.start(), fact)


def test_a_server_that_recovers_from_a_crash_can_be_stopped(
    data_dir: Path, server: EmbeddedPostgres
) -> None:
    """Stopping it then loses nothing, and does not hang as a fast shutdown would."""
    fact = remember(server.start())
    kill(postmaster(data_dir).children())
    eventually(lambda: running_dsn(data_dir) is None)
    server.stop()
    assert server_processes(data_dir) == []
    assert remembered(server.start(), fact)


def test_start_waits_for_orphans_of_a_killed_postmaster(
    data_dir: Path, server: EmbeddedPostgres
) -> None:
    """A backend that still holds the shared memory is waited for, not failed on."""
    fact = remember(server.start())
    parent = postmaster(data_dir)
    orphan = parent.children()[0]
    orphan.suspend()
    parent.kill()
    eventually(lambda: server_processes(data_dir) == [orphan])
    with ThreadPoolExecutor() as threads:
        starting = threads.submit(server.start)
        eventually(lambda: is_locked(data_dir / "control.lock"))
        assert not starting.done()
        orphan.resume()
        assert remembered(starting.result(SECONDS_MAX), fact)


def test_start_waits_for_a_recovery(data_dir: Path, server: EmbeddedPostgres) -> None:
    """A server that is up but not ready is waited for until it is."""
    server.start()
    server.stop()
    account = (data_dir / "postgres").stat()
    (data_dir / "postgres" / "standby.signal").touch()
    os.chown(data_dir / "postgres" / "standby.signal", account.st_uid, account.st_gid)
    recovering = EmbeddedPostgres(
        data_dir, settings={**SHIPPED_SETTINGS, "hot_standby": "off"}
    )
    ping = [str(server.bin_dir / "pg_isready"), "-q", "-h", str(data_dir / "postgres")]
    with ThreadPoolExecutor() as threads:
        starting = threads.submit(recovering.start)
        eventually(lambda: subprocess.run(ping, check=False).returncode == 1)
        assert running_dsn(data_dir) is None
        assert not starting.done()
        (data_dir / "postgres" / "promote").touch()
        postmaster(data_dir).send_signal(signal.SIGUSR1)
        assert value(starting.result(SECONDS_MAX), "SELECT 1") == 1
    recovering.stop()


def test_a_process_id_may_belong_to_a_stranger(
    data_dir: Path, server: EmbeddedPostgres
) -> None:
    """A stale pid file is no server, though its pid is now another program's."""
    fact = remember(server.start())
    kill_everything(data_dir)
    account = (data_dir / "postgres").stat().st_uid
    stranger = subprocess.Popen(["sleep", "600"], user=account)
    for name in ("postmaster.pid", ".s.PGSQL.5432.lock"):
        file = data_dir / "postgres" / name
        lines = file.read_text().splitlines(keepends=True)
        file.write_text("".join([f"{stranger.pid}\n", *lines[1:]]))
    server.stop()
    assert remembered(server.start(), fact)
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


def test_an_interrupted_initdb_is_begun_anew(new_dir: Path) -> None:
    """A half-made cluster and an initdb still at it are waited for and replaced."""
    server = EmbeddedPostgres(new_dir)
    with user_of(new_dir) as interrupted:
        eventually((new_dir / "postgres.unfinished" / "PG_VERSION").exists)
        interrupted.kill()
        interrupted.wait()
    assert value(server.start(), "SELECT 1") == 1
    assert not (new_dir / "postgres.unfinished").exists()
    server.stop()


@pytest.mark.usefixtures("server")
def test_ctrl_c_and_a_closed_pipe_do_not_concern_the_server(data_dir: Path) -> None:
    """It has a session of its own and keeps none of its starter's pipes open."""
    with user_of(data_dir) as interrupted:
        dsn = dsn_of(interrupted)
        os.killpg(interrupted.pid, signal.SIGINT)
        assert interrupted.stdout is not None
        assert interrupted.stdout.read() == ""
    assert value(dsn, "SELECT 1") == 1


@pytest.mark.parametrize("name", ["x" * 120, 'it\'s a "$HOME", süß & more'])
def test_any_folder_will_do(home: Path, new_dir: Path, name: str) -> None:
    """Paths too long for a socket or full of signs work like others."""
    (new_dir / name).mkdir()
    subprocess.run(["cp", "-a", home / "postgres", new_dir / name], check=True)
    server = EmbeddedPostgres(new_dir / name)
    dsn = server.start()
    assert value(dsn, "SELECT 1") == 1
    assert running_dsn(new_dir / name) == dsn
    server.stop()
    assert not Path(dsn.partition("host=")[2]).exists()


def test_the_folder_may_be_relative(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative folder is taken from where the object was made."""
    monkeypatch.chdir(data_dir.parent)
    server = EmbeddedPostgres(Path(data_dir.name))
    monkeypatch.chdir("/")
    assert value(server.start(), "SELECT 1") == 1
    assert running_dsn(data_dir) is not None
    server.stop()


def test_an_ordinary_user_needs_no_rights(new_dir: Path) -> None:
    """Who owns the folder can start a server, and root who comes later shares it."""
    server = EmbeddedPostgres(new_dir)
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(new_dir, nobody.pw_uid, nobody.pw_gid)
        assert exit_code_of_fork(server.start, user=nobody) == 0
    dsn = running_dsn(new_dir)
    assert server.start() == dsn or dsn is None
    assert (new_dir / "postgres").stat().st_uid == new_dir.stat().st_uid
    server.stop()
    assert server_processes(new_dir) == []


def test_another_major_version_is_refused(
    new_dir: Path,
) -> None:
    """Data of PostgreSQL 16 are left alone, and the message says how to move them."""
    (new_dir / "postgres").mkdir()
    (new_dir / "postgres" / "PG_VERSION").write_text("16\n")
    server = EmbeddedPostgres(new_dir)
    with pytest.raises(ConfigurationError, match=r"is of PostgreSQL 16.*pg_dump"):
        server.start()


def test_a_failed_start_quotes_the_log(data_dir: Path) -> None:
    """The server's own words are in the message."""
    server = EmbeddedPostgres(data_dir, settings={"shared_buffers": "plenty"})
    with pytest.raises(ConfigurationError, match=r"shared_buffers.*plenty"):
        server.start()


def test_a_folder_that_cannot_be_made_is_named(new_dir: Path) -> None:
    """The message names the folder and the setting that chooses another."""
    (new_dir / "file").touch()
    with pytest.raises(ConfigurationError, match=r"file/below.*LEDGER_DATA_DIR"):
        EmbeddedPostgres(new_dir / "file" / "below").start()


def value(dsn: str, query: str) -> object:
    """The first value of what ``query`` returns."""

    async def fetched() -> object:
        connection = await asyncpg.connect(dsn, timeout=5)
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    return asyncio.run(fetched())


def remember(dsn: str) -> str:
    """Commit a fact that no other test knows, and return it."""
    value(dsn, "CREATE TABLE IF NOT EXISTS memory (fact text)")
    insert = "INSERT INTO memory VALUES (gen_random_uuid()) RETURNING fact"
    return str(value(dsn, insert))


def remembered(dsn: str, fact: str) -> bool:
    """Whether ``fact`` is still there."""
    return fact in str(value(dsn, "SELECT array_agg(fact) FROM memory"))


def eventually(condition: Callable[[], bool]) -> None:
    """Return once ``condition`` holds."""
    deadline = time.monotonic() + SECONDS_MAX
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


def is_locked(file: Path) -> bool:
    """Whether somebody holds ``file``."""
    with file.open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def server_processes(folder: Path) -> list[psutil.Process]:
    """Every living process of a server on ``folder`` or below, orphans included."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            is_below = Path(process.cwd()).is_relative_to(folder)
            if process.name() == "postgres" and is_below:
                found.append(process)
    return found


def postmaster(data_dir: Path) -> psutil.Process:
    """The parent of all other processes of the server."""
    pid_file = data_dir / "postgres" / "postmaster.pid"
    return psutil.Process(int(pid_file.read_text().splitlines()[0]))


def kill(processes: list[psutil.Process]) -> None:
    """Send kill -9 to those that are still there: one may take others with it."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def kill_everything(folder: Path) -> None:
    """Leave no server on ``folder`` or below, as a power cut would."""

    def is_quiet() -> bool:
        living = server_processes(folder)
        kill(living)
        return not living

    eventually(is_quiet)


@contextmanager
def user_of(data_dir: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that uses the server, in a process group of its own."""
    command = [sys.executable, "-W", "error", "-c", USER, str(data_dir)]
    with subprocess.Popen(
        command,
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        process_group=0,
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()
        process.wait(SECONDS_MAX)


def dsn_of(process: subprocess.Popen[str]) -> str:
    """What the process says once it has started or joined the server."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def exit_code_of_fork(
    action: Callable[[], object], user: pwd.struct_passwd | None = None
) -> int | None:
    """Run ``action`` as ``user``; in a fork, as it may not read the interpreter."""

    def act() -> None:
        if user is not None:
            os.setgroups([])
            os.setgid(user.pw_gid)
            os.setuid(user.pw_uid)
        action()

    process = multiprocessing.get_context("fork").Process(target=act)
    process.start()
    process.join(SECONDS_MAX)
    return process.exitcode
