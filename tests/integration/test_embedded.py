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


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A folder with a short path; no server on it or below it outlives the test."""
    folder = Path(tempfile.mkdtemp(prefix="ledger-"))
    yield folder
    for process in server_processes(folder):
        process.kill()
    eventually(lambda: not server_processes(folder))
    shutil.rmtree(folder)


@pytest.fixture
def server(data_dir: Path) -> Iterator[EmbeddedPostgres]:
    """A server on ``data_dir``, not started."""
    embedded = EmbeddedPostgres(data_dir)
    yield embedded
    embedded.stop()


def test_the_first_start_creates_a_durable_utf8_database(
    data_dir: Path, server: EmbeddedPostgres
) -> None:
    """A new folder becomes a checksummed UTF-8 cluster with the settings we ship."""
    dsn = server.start()
    shown = {name: value(dsn, f"SHOW {name}") for name in SHIPPED_SETTINGS}
    assert shown == {**SHIPPED_SETTINGS, "wal_compression": "pglz"}
    assert value(dsn, "SHOW server_encoding") == "UTF8"
    assert value(dsn, "SHOW data_checksums") == "on"
    assert value(dsn, "SELECT current_database()") == "consent_ledger"
    locale = "SELECT datlocprovider || datlocale FROM pg_database WHERE oid = 1"
    assert value(dsn, locale) == "bC.UTF-8"
    assert value(dsn, "SHOW listen_addresses") == ""
    assert stat.S_IMODE((data_dir / "postgres").stat().st_mode) == 0o700


def test_a_second_start_joins_the_server(
    data_dir: Path, server: EmbeddedPostgres
) -> None:
    """Who comes second finds the same server and data, and stops nothing."""
    remember(server.start())
    second = EmbeddedPostgres(data_dir)
    assert remembered(second.start())
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
    data_dir: Path, server: EmbeddedPostgres
) -> None:
    """A copied folder has the original's pid file, and still has no server."""
    server.start()
    (data_dir / "copy" / "postgres").mkdir(parents=True)
    pid_file = Path("postgres", "postmaster.pid")
    shutil.copy(data_dir / pid_file, data_dir / "copy" / pid_file)
    assert running_dsn(data_dir / "copy") is None


def test_data_outlives_a_stop(server: EmbeddedPostgres) -> None:
    """What was committed before a stop is there after the next start."""
    remember(server.start())
    server.stop()
    assert remembered(server.start())


def test_stop_may_be_called_at_any_time(
    data_dir: Path, server: EmbeddedPostgres
) -> None:
    """Stopping too early or twice does nothing; once leaves no process behind."""
    server.stop()
    server.start()
    server.stop()
    server.stop()
    assert server_processes(data_dir) == []


def test_two_processes_starting_at_once_share_one_server(data_dir: Path) -> None:
    """Both get the same DSN, and there is one postmaster."""
    with user_of(data_dir) as one, user_of(data_dir) as other:
        assert dsn_of(one) == dsn_of(other)
        parents = {p.ppid() for p in server_processes(data_dir)}
        assert len(parents & {p.pid for p in server_processes(data_dir)}) == 1
    assert server_processes(data_dir) == []


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
        remember(dsn_of(other))
        other.kill()
        other.wait()
    assert remembered(server.start())
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
    remember(server.start())
    parent = postmaster(data_dir)
    children = parent.children()
    doomed = {"postmaster": [parent], "backends": children}
    for process in doomed.get(victims, [parent, *children]):
        process.kill()
    assert remembered(EmbeddedPostgres(data_dir).start())


def test_start_waits_for_orphans_of_a_killed_postmaster(
    data_dir: Path, server: EmbeddedPostgres
) -> None:
    """A backend that still holds the shared memory is waited for, not failed on."""
    remember(server.start())
    parent = postmaster(data_dir)
    orphan = parent.children()[0]
    orphan.suspend()
    parent.kill()
    eventually(lambda: server_processes(data_dir) == [orphan])
    with ThreadPoolExecutor() as threads:
        starting = threads.submit(EmbeddedPostgres(data_dir).start)
        eventually(lambda: is_locked(data_dir / "control.lock"))
        assert not starting.done()
        orphan.resume()
        assert remembered(starting.result(SECONDS_MAX))


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
    pgdata = str(data_dir / "postgres")
    ping = [str(server.bin_dir / "pg_isready"), "-q", "-h", pgdata]
    promote = [str(server.bin_dir / "pg_ctl"), "promote", "-W", "-s", "-D", pgdata]
    with ThreadPoolExecutor() as threads:
        starting = threads.submit(recovering.start)
        eventually(lambda: subprocess.run(ping, check=False).returncode == 1)
        assert running_dsn(data_dir) is None
        assert not starting.done()
        subprocess.run(promote, check=True, cwd="/", user=account.st_uid)
        assert value(starting.result(SECONDS_MAX), "SELECT 1") == 1
    recovering.stop()


def test_a_process_id_may_belong_to_a_stranger(
    data_dir: Path, server: EmbeddedPostgres
) -> None:
    """A stale pid file is no server, though its pid is now another program's."""
    remember(server.start())
    kill_everything(data_dir)
    account = (data_dir / "postgres").stat().st_uid
    stranger = subprocess.Popen(["sleep", "600"], user=account)
    for name in ("postmaster.pid", ".s.PGSQL.5432.lock"):
        file = data_dir / "postgres" / name
        lines = file.read_text().splitlines(keepends=True)
        file.write_text("".join([f"{stranger.pid}\n", *lines[1:]]))
    server.stop()
    assert remembered(server.start())
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


def test_an_interrupted_initdb_is_begun_anew(
    data_dir: Path, server: EmbeddedPostgres
) -> None:
    """A half-made cluster and an initdb still at it are waited for and replaced."""
    with user_of(data_dir) as interrupted:
        eventually((data_dir / "postgres.unfinished" / "PG_VERSION").exists)
        interrupted.kill()
        interrupted.wait()
    assert value(server.start(), "SELECT 1") == 1
    assert not (data_dir / "postgres.unfinished").exists()


def test_ctrl_c_and_a_closed_pipe_do_not_concern_the_server(data_dir: Path) -> None:
    """It has a session of its own and keeps none of its starter's pipes open."""
    with user_of(data_dir) as interrupted:
        dsn = dsn_of(interrupted)
        os.killpg(interrupted.pid, signal.SIGINT)
        assert interrupted.stdout is not None
        assert interrupted.stdout.read() == ""
    assert value(dsn, "SELECT 1") == 1


@pytest.mark.parametrize("name", ["x" * 120, 'it\'s, a "$HOME" & more', "späße"])
def test_any_folder_will_do(data_dir: Path, name: str) -> None:
    """Paths too long for a socket or full of signs work like others."""
    server = EmbeddedPostgres(data_dir / name)
    dsn = server.start()
    assert value(dsn, "SELECT 1") == 1
    assert running_dsn(data_dir / name) == dsn
    server.stop()
    assert not Path(dsn.partition("host=")[2]).exists()


def test_the_folder_may_be_relative(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative folder is taken from where the object was made."""
    monkeypatch.chdir(data_dir)
    server = EmbeddedPostgres(Path(".ledger"))
    monkeypatch.chdir("/")
    assert value(server.start(), "SELECT 1") == 1
    assert running_dsn(data_dir / ".ledger") is not None
    server.stop()


def test_an_ordinary_user_needs_no_rights(
    data_dir: Path, server: EmbeddedPostgres
) -> None:
    """Who owns the folder can start a server, and root who comes later shares it."""
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(data_dir, nobody.pw_uid, nobody.pw_gid)
        assert exit_code_of_fork(server.start, user=nobody) == 0
    dsn = running_dsn(data_dir)
    assert server.start() == dsn or dsn is None
    assert (data_dir / "postgres").stat().st_uid == data_dir.stat().st_uid
    server.stop()
    assert server_processes(data_dir) == []


def test_another_major_version_is_refused(
    data_dir: Path, server: EmbeddedPostgres
) -> None:
    """Data of PostgreSQL 16 are left alone, and the message says how to move them."""
    (data_dir / "postgres").mkdir()
    (data_dir / "postgres" / "PG_VERSION").write_text("16\n")
    with pytest.raises(ConfigurationError, match=r"is of PostgreSQL 16.*pg_dump"):
        server.start()


def test_a_failed_start_quotes_the_log(data_dir: Path) -> None:
    """The server's own words are in the message."""
    server = EmbeddedPostgres(data_dir, settings={"shared_buffers": "plenty"})
    with pytest.raises(ConfigurationError, match=r"shared_buffers.*plenty"):
        server.start()


def test_a_folder_that_cannot_be_made_is_named(data_dir: Path) -> None:
    """The message names the folder and the setting that chooses another."""
    (data_dir / "file").touch()
    with pytest.raises(ConfigurationError, match=r"file/below.*LEDGER_DATA_DIR"):
        EmbeddedPostgres(data_dir / "file" / "below").start()


def value(dsn: str, query: str) -> object:
    """The first value of what ``query`` returns."""

    async def fetched() -> object:
        connection = await asyncpg.connect(dsn, timeout=5)
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    return asyncio.run(fetched())


def remember(dsn: str) -> None:
    """Commit a fact."""
    value(dsn, "CREATE TABLE memory AS SELECT 'a fact' AS fact")


def remembered(dsn: str) -> bool:
    """Whether the fact is still there."""
    return value(dsn, "SELECT fact FROM memory") == "a fact"


def eventually(condition: Callable[[], bool]) -> None:
    """Return once ``condition`` holds."""
    deadline = time.monotonic() + SECONDS_MAX
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.005)


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


def kill_everything(data_dir: Path) -> None:
    """The whole server is gone, as after a power cut."""
    parent = postmaster(data_dir)
    for process in (parent, *parent.children()):
        process.kill()
    eventually(lambda: not server_processes(data_dir))


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
