"""The service as its operator sees it: real processes, in a folder of their own.

Never waits for time to pass: what is waited for is looked at again and again, with a
bound. Never kills by name: others run the same service on the same machine.
"""

import asyncio
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Final, Self

import aiohttp
import psutil
from builders import (
    ACCOUNT_SID,
    ADMIN_KEY,
    AUTH_TOKEN,
    MASTER_KEY,
    PATH,
    PUBLIC_URL,
    signed,
    text_form,
)
from folders import quick_folder

from ledger.store.embedded import running_dsn

COMMAND: Final = str(Path(sys.executable).with_name("consent-ledger"))
SECONDS_MAX: Final = 30
POLL_SECONDS: Final = 0.01
TWILIO_TIMEOUT: Final = aiohttp.ClientTimeout(total=15)
PROBE_TIMEOUT: Final = aiohttp.ClientTimeout(total=2)

Answer = tuple[int, Mapping[str, str], str]


class Service:
    """``consent-ledger serve``, or another, in a session of its own, and its children.

    What belongs to it is told by LEDGER_DATA_DIR in the environment, and the embedded
    server, which has none, by its working directory.
    """

    def __init__(
        self, folder: Path, environment: Mapping[str, str], command: str = "serve"
    ) -> None:
        self.folder = folder
        self._command = command
        self.environment = environment_for(folder, free_port()) | {**environment}
        self.port = int(self.environment["LEDGER_PORT"])
        self.url = f"http://127.0.0.1:{self.port}"
        self.temporary = Path(self.environment["TMPDIR"])
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process that was started last: gunicorn's arbiter, too."""
        assert self._process is not None
        return self._process

    @property
    def log(self) -> str:
        """What was printed, over all starts."""
        return (self.folder / "serve.log").read_text()

    def start(self) -> None:
        """Start it, again if it has ended; does not wait until it can be used."""
        if self._process is not None:
            self.ended()
        self.temporary.mkdir(exist_ok=True)
        with (self.folder / "serve.log").open("ab") as log:
            self._process = subprocess.Popen(
                [COMMAND, self._command],
                env=self.environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def ended(self) -> int:
        """The exit code, once it has ended."""
        return self.process.wait(SECONDS_MAX)

    def stop(self, signum: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to stop; its exit code."""
        self.process.send_signal(signum)
        return self.ended()

    def end(self) -> None:
        """Leave nothing of it, in whatever state it is; twice is fine."""
        kill_all(self.processes)
        if self._process is not None:
            self._process.wait(SECONDS_MAX)

    def processes(self) -> list[psutil.Process]:
        """Every living process of it, orphans and the embedded server included."""
        return [*self._ours(), *self.postgres()]

    def web_processes(self) -> list[psutil.Process]:
        """What gunicorn has forked."""
        return self._ours("serve", parent=self.process.pid)

    def projectors(self) -> list[psutil.Process]:
        """The processes that fill the tables: one, but for moments."""
        return self._ours("project")

    def postgres(self) -> list[psutil.Process]:
        """Every process of the embedded server, orphans included."""
        return postgres_below(self.folder)

    def postmaster(self) -> psutil.Process:
        """The parent of all other processes of the embedded server."""
        return postmaster_of(self.folder)

    def accepts(self) -> bool:
        """Whether somebody listens on the port."""
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), timeout=2).close()
            return True
        return False

    def dsn(self) -> str:
        """How to reach the embedded server."""
        dsn = running_dsn(self.folder)
        assert dsn is not None
        return dsn

    async def ready(self) -> None:
        """Return once its own web processes run, and /readyz says that all is well."""
        try:
            await eventually(self._is_ready)
        except TimeoutError:
            raise AssertionError(self.log) from None

    async def _is_ready(self) -> bool:
        # Those of a service that was killed answer for a moment more.
        if not self.web_processes():
            return False
        with suppress(aiohttp.ClientError, TimeoutError):
            return (await get(self.url, "/readyz"))[0] == 200
        return False

    def _ours(
        self, command: str = "", parent: int | None = None
    ) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):  # it may end while it is looked at
                folder = process.environ().get("LEDGER_DATA_DIR")
                if (
                    folder == str(self.folder)
                    and is_alive(process)
                    and command in ("", *process.cmdline())
                    and parent in (None, process.ppid())
                ):
                    found.append(process)
        return found


class Load:
    """Clients that post signed texts, each one after the other, until they are told.

    They do as Twilio does where it is set up to retry: what was not acknowledged is
    often, not always, posted again; now and then what was acknowledged is, too.
    """

    def __init__(self, *urls: str, seed: int, clients: int = 12) -> None:
        self._urls = urls
        self._random = random.Random(seed)  # noqa: S311 it is no secret
        self._ending = False
        self.acknowledged: list[list[str]] = [[] for _ in range(clients)]
        """The MessageSids that were answered 200, by client, in order."""
        self.answers: Counter[int] = Counter()
        """How often each status was answered; 0 is none at all."""

    async def __aenter__(self) -> Self:
        """Start posting."""
        self._session = aiohttp.ClientSession(timeout=TWILIO_TIMEOUT)
        self._tasks = [
            asyncio.create_task(self._run(sids)) for sids in self.acknowledged
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Wait for the answer to what was posted, and post no more."""
        self._ending = True
        try:
            await asyncio.gather(*self._tasks)
        finally:
            await self._session.close()

    def all_acknowledged(self) -> list[str]:
        """The MessageSids that were answered 200."""
        return [sid for sids in self.acknowledged for sid in sids]

    async def acknowledged_more(self, by: int) -> None:
        """Return once ``by`` more texts were acknowledged."""
        wanted = len(self.all_acknowledged()) + by
        await eventually(lambda: len(self.all_acknowledged()) >= wanted)

    async def _run(self, sids: list[str]) -> None:
        forms: list[dict[str, str]] = []
        while not self._ending:
            form = self._form()
            if await self._is_acknowledged(form):
                sids.append(form["MessageSid"])
                forms.append(form)
            if forms and self._random.random() < 0.1:
                await self._post(self._random.choice(forms))

    def _form(self) -> dict[str, str]:
        """A text of one of three who text all the time, or of one of thousands."""
        below = self._random.randrange
        hot, many = f"+1415555010{below(3)}", f"+1415{below(5000):07}"
        return text_form(
            self._random.choice(("STOP", "START")),
            From=self._random.choice((hot, many)),
            To=self._random.choice(("+14155550198", "+14155550199")),
        )

    async def _is_acknowledged(self, form: Mapping[str, str]) -> bool:
        while not (done := await self._post(form) == 200):
            if self._ending or self._random.random() < 0.2:
                break
            await asyncio.sleep(POLL_SECONDS)
        return done

    async def _post(self, form: Mapping[str, str]) -> int:
        status, url = 0, self._random.choice(self._urls)
        with suppress(aiohttp.ClientError, TimeoutError):
            status, *_ = await post(self._session, url, form)
        self.answers[status] += 1
        return status


@contextmanager
def new_folder() -> Iterator[Path]:
    """A folder whose path is short enough for a socket; no server outlives it."""
    folder = Path(tempfile.mkdtemp(prefix="ledger-e2e-", dir=quick_folder()))
    try:
        yield folder
    finally:
        kill_all(lambda: postgres_below(folder))
        shutil.rmtree(folder)


@contextmanager
def running(
    folder: Path,
    environment: Mapping[str, str] = MappingProxyType({}),
    command: str = "serve",
) -> Iterator[Service]:
    """A service that was started; nothing of it outlives the context."""
    service = Service(folder, environment, command)
    service.start()
    try:
        yield service
    finally:
        service.end()


def environment_for(folder: Path, port: int) -> dict[str, str]:
    """What an operator sets; nothing else of ours leaks into the service."""
    return {
        "PATH": os.environ["PATH"],
        "TMPDIR": str(folder / f"temporary-{port}"),
        "PUBLIC_URL": PUBLIC_URL,
        "TWILIO_ACCOUNT_SID": ACCOUNT_SID,
        "TWILIO_AUTH_TOKEN": AUTH_TOKEN,
        "LEDGER_ADMIN_KEY": ADMIN_KEY,
        "LEDGER_DATA_DIR": str(folder),
        "LEDGER_MASTER_KEY": MASTER_KEY,
        "LEDGER_PORT": str(port),
        "LEDGER_WORKERS": "2",
        "LEDGER_POLL_SECONDS": "0.2",
    }


def command_line(
    environment: Mapping[str, str], *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Run ``consent-ledger`` as a user would, to its end."""
    return subprocess.run(
        [COMMAND, *arguments],
        env=environment,
        cwd=environment["LEDGER_DATA_DIR"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )


def free_port() -> int:
    """A port below those that the kernel gives to outgoing connections.

    So that a client which tries to reach a service that is down can neither take its
    port nor connect to itself.
    """
    while True:
        port = random.randint(20_000, 32_000)  # noqa: S311 it is no secret
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


async def post(
    session: aiohttp.ClientSession, url: str, form: Mapping[str, str]
) -> Answer:
    """Post a text as Twilio does: status, headers and body of the answer."""
    async with session.post(url + PATH, data=form, headers=signed(form)) as answer:
        return answer.status, answer.headers, await answer.text()


async def get(url: str, path: str, **headers: str) -> tuple[int, str]:
    """Ask once: status and body of the answer."""
    async with (
        aiohttp.ClientSession(timeout=PROBE_TIMEOUT) as session,
        session.get(url + path, headers=headers) as answer,
    ):
        return answer.status, await answer.text()


async def eventually(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    """Return once ``condition`` holds; TimeoutError if it does not."""
    async with asyncio.timeout(SECONDS_MAX):
        # What is waited for happens in other processes: there is no event to await.
        while not await _value(condition()):  # noqa: ASYNC110
            await asyncio.sleep(POLL_SECONDS)


async def _value(value: bool | Awaitable[bool]) -> bool:  # noqa: FBT001 it is no option
    return value if isinstance(value, bool) else await value


def postgres_below(folder: Path) -> list[psutil.Process]:
    """Every living process of a server on ``folder`` or below it."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            is_below = Path(process.cwd()).is_relative_to(folder)
            if process.name() == "postgres" and is_below and is_alive(process):
                found.append(process)
    return found


def postmaster_of(data_dir: Path) -> psutil.Process:
    """The parent of all other processes of the server; LookupError if it is gone."""
    first_line, *_ = (data_dir / "postgres" / "postmaster.pid").read_text().splitlines()
    living = {process.pid: process for process in postgres_below(data_dir)}
    # By number alone it could be somebody else's by now.
    return living[int(first_line)]


def kill(process: psutil.Process) -> None:
    """Kill -9; does not wait until it is gone."""
    with suppress(psutil.NoSuchProcess):
        process.kill()


def kill_all(living: Callable[[], list[psutil.Process]]) -> None:
    """Kill -9, again and again, until nothing lives; they may just be starting more."""
    deadline = time.monotonic() + SECONDS_MAX
    while processes := living():
        assert time.monotonic() < deadline, processes
        for process in processes:
            kill(process)
        time.sleep(POLL_SECONDS)


def is_alive(process: psutil.Process) -> bool:
    """Whether it is more than an entry that its parent has not read yet."""
    return process.status() != psutil.STATUS_ZOMBIE
