"""Connections: what is everyday is answered here, and like anything else's answer."""

import asyncio
import errno
import re
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import urlencode

import pytest
from aiohttp import web
from api_steps import count_events
from builders import ADMIN_KEY, NUMBER, PATH, signed, text_form
from conftest import CatchUp, eventually, settings_for
from multidict import CIMultiDict

from ledger import connections, everyday
from ledger.app import make_app
from ledger.connections import Connection, Connections, Runner
from ledger.everyday import EVERYDAY, Everyday, Plain, Reply, Route
from ledger.settings import Settings
from ledger.store.database import Connection as Database
from ledger.webhook import routes

PAST = (
    "asOf=2000-01-01",
    "asOf=2000-01-01T00:00:00.5Z&knownAt=2020-02-29",
    "asOf=2999-01-01",
    "asOf=2000-01-01&knownAt=9999-12-31",
)
TWICE = ("X-Twice: a", "X-Twice: b")
"""What no plain request has, and changes nothing at aiohttp."""


class Answer(NamedTuple):
    """An answer as it came."""

    status: int
    headers: CIMultiDict[str]
    body: bytes


class Client:
    """A connection on which every byte is ours to choose."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        """Send some bytes."""
        self._writer.write(data)
        await self._writer.drain()

    async def answer(self) -> Answer:
        """The next answer."""
        head = await self._reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")[:-2]
        pairs = [line.partition(": ") for line in lines]
        headers = CIMultiDict(sorted((name, value) for name, _, value in pairs))
        body = await self._reader.readexactly(int(headers.get("Content-Length", 0)))
        return Answer(int(first.split()[1]), headers, body)

    async def is_closed(self) -> bool:
        """Whether nothing comes any more; waits until that is known."""
        return await self._reader.read() == b""

    def close(self) -> None:
        """Go away."""
        self._writer.transport.abort()


class Served:
    """An application that is run as ``serve`` does, and what is open to it."""

    def __init__(self, runner: Runner, port: int) -> None:
        self.runner = runner
        self._port = port

    @property
    def connections(self) -> Connections:
        """What makes its connections."""
        server = self.runner.server
        assert isinstance(server, Connections)
        return server

    @property
    def by_aiohttp(self) -> int:
        """How many requests aiohttp has answered."""
        server = super(Runner, self.runner).server
        assert server is not None
        return server.requests_count

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Client]:
        """A new connection."""
        client = Client(*await asyncio.open_connection("127.0.0.1", self._port))
        yield client
        client.close()


@asynccontextmanager
async def serving(
    settings: Settings, *, idle_seconds_max: float = 60
) -> AsyncIterator[Served]:
    """The application, as ``serve`` runs it."""
    app = await make_app(settings.database_url or "", settings)
    async with running(app, idle_seconds_max=idle_seconds_max) as served:
        yield served


@asynccontextmanager
async def running(
    app: web.Application, *, idle_seconds_max: float = 60
) -> AsyncIterator[Served]:
    """Any application that answers something before aiohttp."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    runner = Runner(
        app,
        keepalive_timeout=idle_seconds_max,
        shutdown_timeout=5,
        listeners=[listener],
    )
    await runner.setup()
    yield Served(runner, port)
    await runner.cleanup()


@pytest.fixture
async def served(settings: Settings) -> AsyncIterator[Served]:
    """An application on this test's database."""
    async with serving(settings) as served:
        yield served


def text(
    body: str = "STOP", more: Iterable[str] = (), token: str | None = None
) -> bytes:
    """A signed text as it is sent."""
    form = text_form(body)
    signature = signed(form, token=token) if token else signed(form)
    content = urlencode(form).encode()
    lines = (
        f"POST {PATH} HTTP/1.1",
        "Host: sms.example.com",
        "Content-Type: application/x-www-form-urlencoded; charset=utf-8",
        *(f"{name}: {value}" for name, value in signature.items()),
        f"Content-Length: {len(content)}",
        *more,
    )
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


def question(number: str, key: str = ADMIN_KEY) -> Callable[..., bytes]:
    """Asks for a number's record, with more headers."""

    def asked(more: Iterable[str] = ()) -> bytes:
        lines = (
            f"GET /PhoneNumbers/{number} HTTP/1.1",
            "Host: sms.example.com",
            f"Authorization: Bearer {key}",
            *more,
        )
        return "\r\n".join(lines).encode() + b"\r\n\r\n"

    return asked


async def test_an_everyday_text_is_answered_without_aiohttp_and_as_by_it(
    served: Served, connection: Database
) -> None:
    """The same status, headers and body; a request's own id comes back from both."""
    answers = []
    for more in ((), TWICE):
        async with served.connect() as client:
            for body in ("STOP", "hello"):
                await client.send(text(body, ("X-Request-Id: id-1", *more)))
                answers.append(await client.answer())
    ours, theirs = answers[:2], answers[2:]
    for answer in answers:
        answer.headers.pop("Date")
    assert ours == theirs
    assert ours[0].headers["X-Request-Id"] == "id-1"
    assert (await count_events(connection), served.by_aiohttp) == (2, 2)
    assert served.connections.requests_count == 4


async def test_an_everyday_question_is_answered_without_aiohttp_and_as_by_it(
    served: Served, catch_up: CatchUp
) -> None:
    """A record, of now or then, a number never seen, and who may not ask: the same."""
    async with served.connect() as client:
        await client.send(text())
        await client.answer()
    await catch_up()
    questions = [
        question(number, key)
        for number in (NUMBER, "+14155550101", "+5215512345678")
        for key in (ADMIN_KEY, ADMIN_KEY, "another")
    ]
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    questions += [
        question(f"{number}?{asked}", key)
        for number, key in ((NUMBER, ADMIN_KEY), ("+14155550101", "another"))
        for asked in PAST
    ]
    questions.append(question(f"{NUMBER}?asOf={now}"))
    answers = []
    for more in ((), TWICE):
        async with served.connect() as client:
            for asked in questions:
                await client.send(asked(("X-Request-Id: id-1", *more)))
                answers.append(without_now(await client.answer()))
    for answer in answers:
        answer.headers.pop("Date")
    ours, theirs = answers[: len(questions)], answers[len(questions) :]
    assert ours == theirs
    assert [answer.status for answer in ours[:6]] == [200, 200, 401, 404, 404, 401]
    assert [answer.status for answer in ours[9:13]] == [200, 200, 400, 400]
    assert b'"decidedBy":{' in ours[-1].body
    assert served.by_aiohttp == len(questions)


async def test_an_everyday_question_waits_for_all_that_was_known(
    served: Served, catch_up: CatchUp
) -> None:
    """What had been recorded by then is told, though no table has it yet."""
    async with served.connect() as client:
        await client.send(text())
        await client.answer()
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        await client.send(question(f"{NUMBER}?asOf={now}&knownAt={now}")())
        waiting = asyncio.create_task(client.answer())
        await catch_up()
        answer = await waiting
    assert (answer.status, served.by_aiohttp) == (200, 0)
    assert b'"decidedBy":{' in answer.body


def without_now(answer: Answer) -> Answer:
    """The same at any time: a moment in the future is said to be so by the clock."""
    return answer._replace(body=re.sub(b'it is [^"]+', b"it is now", answer.body))


async def test_a_question_that_is_not_everyday_is_left_to_aiohttp(
    served: Served, catch_up: CatchUp
) -> None:
    """What the client has already, no time, another format, a property, no number."""
    async with served.connect() as client:
        await client.send(text())
        await client.answer()
        await catch_up()
        await client.send(question(NUMBER)())
        etag = (await client.answer()).headers["ETag"]
    seldom = (
        (question(NUMBER)((f"If-None-Match: {etag}",)), 304),
        (question(f"{NUMBER}?asOf=2000-01-01&tz=UTC")(), 200),
        (question(f"{NUMBER}?asOf=2000-01-32")(), 400),
        (question(f"{NUMBER}.csv")(), 200),
        (question(NUMBER)(("Accept: text/csv",)), 200),
        (question(NUMBER)(("Accept: image/png",)), 406),
        (question("12345")(), 404),
    )
    for number, (asked, status) in enumerate(seldom, start=1):
        async with served.connect() as client:
            await client.send(asked)
            assert (await client.answer()).status == status
            assert served.by_aiohttp == number


async def test_what_is_wrong_is_said_by_aiohttp_of_the_same_bytes(
    served: Served, connection: Database
) -> None:
    """403 for another's signature; the connection is of use afterwards."""
    async with served.connect() as client:
        await client.send(text(token="another"))
        answer = await client.answer()
        assert (answer.status, served.by_aiohttp) == (403, 1)
        assert b"invalid_signature" in answer.body
        await client.send(text())
        assert (await client.answer()).status == 200
    assert await count_events(connection) == 1


async def test_a_request_may_come_in_pieces_and_too_early(
    served: Served, connection: Database
) -> None:
    """A body after its head, byte by byte, and texts before the answer to the last."""
    async with served.connect() as client:
        one = text()
        head = one.index(b"\r\n\r\n") + 4
        await client.send(one[:head])
        for byte in range(head, len(one)):
            await client.send(one[byte : byte + 1])
            await asyncio.sleep(0)
        assert (await client.answer()).status == 200
        assert served.by_aiohttp == 0
        await client.send(text() + text())
        await client.send(text())
        for _ in range(3):
            assert (await client.answer()).status == 200
    assert await count_events(connection) == 4


async def test_a_text_sent_while_one_is_in_work_waits_for_it(
    served: Served, connection: Database
) -> None:
    """Its answer comes second, and aiohttp is not needed for either."""
    async with served.connect() as client, held(connection):
        await client.send(text())
        await in_work(served)
        await client.send(text("START"))
        await eventually(lambda: is_true(bool(only(served)._received)))  # noqa: SLF001
        await connection.execute("ROLLBACK")
        for _ in range(2):
            assert (await client.answer()).status == 200
    statuses = await connection.fetch(
        "SELECT convert_from(state, 'UTF8')::json->>'status' FROM ledger_events "
        "ORDER BY notification_id"
    )
    assert [status for (status,) in statuses] == ["out", "in"]
    assert served.by_aiohttp == 0


async def test_a_client_that_does_not_read_is_answered_no_more_until_it_does(
    served: Served,
) -> None:
    """What it sends meanwhile waits."""
    async with served.connect() as client:
        await client.send(text("hello"))
        await client.answer()
        connection = only(served)
        connection.pause_writing()
        await client.send(text("hello"))
        await eventually(lambda: is_true(bool(connection._received)))  # noqa: SLF001
        connection.resume_writing()
        assert (await client.answer()).status == 200


async def test_a_client_that_reads_again_has_no_two_texts_in_work(
    served: Served, connection: Database
) -> None:
    """A full buffer may be told of, and be over, while one is in work."""
    async with served.connect() as client:
        async with held(connection):
            await client.send(text())
            await in_work(served)
            ours = only(served)
            await client.send(text("START"))
            await eventually(lambda: is_true(bool(ours._received)))  # noqa: SLF001
            ours.pause_writing()
            ours.resume_writing()
            assert served.connections.requests_count == 1
            await connection.execute("ROLLBACK")
        for _ in range(2):
            assert (await client.answer()).status == 200
    assert await count_events(connection) == 2


async def test_what_was_taken_is_answered_before_the_end(
    served: Served, connection: Database
) -> None:
    """At the end a text in work gets its 200, and then its connection is closed."""
    async with served.connect() as client, served.connect() as idle:
        async with held(connection):
            await client.send(text())
            await in_work(served)
            stopping = asyncio.create_task(served.runner.cleanup())
            assert await idle.is_closed()
            await connection.execute("ROLLBACK")
        answer = await client.answer()
        assert (answer.status, answer.headers["Connection"]) == (200, "close")
        assert await client.is_closed()
        await stopping
    assert await count_events(connection) == 1


async def test_a_text_that_has_begun_to_come_is_recorded_before_the_end(
    served: Served, connection: Database
) -> None:
    """Its body is on the way when the process is told to stop."""
    async with served.connect() as client, served.connect() as idle:
        await client.send(text()[:-5])
        await eventually(lambda: is_true(any_received(served)))
        stopping = asyncio.create_task(served.runner.cleanup())
        assert await idle.is_closed()
        await client.send(text()[-5:])
        answer = await client.answer()
        assert (answer.status, answer.headers["Connection"]) == (200, "close")
        await stopping
    assert await count_events(connection) == 1


async def test_the_end_does_not_wait_long_for_what_never_comes_whole(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that has sent half of a request holds nobody up."""
    monkeypatch.setattr(connections, "_ARRIVING_SECONDS_MAX", 0.05)
    async with served.connect() as client:
        await client.send(text()[:-1])
        await eventually(lambda: is_true(any_received(served)))
        async with asyncio.timeout(4):  # less than it waits for an answer
            await served.runner.cleanup()
        assert await client.is_closed()


async def test_a_text_counts_though_nobody_waits_for_its_answer(
    served: Served, connection: Database
) -> None:
    """The client goes away while the text is in work."""
    async with held(connection):
        async with served.connect() as client:
            await client.send(text())
            await in_work(served)
        await eventually(lambda: is_true(not served.connections._open))  # noqa: SLF001
        await connection.execute("ROLLBACK")
    await eventually(lambda: is_one_event(connection))


async def test_a_text_that_cannot_be_counted_is_answered(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files that hold the counts may have no room for another kind of text."""

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no room")

    monkeypatch.setattr(routes, "count_arrival", fail)
    async with served.connect() as client:
        for _ in range(2):
            await client.send(text())
            assert (await client.answer()).status == 200
    assert served.by_aiohttp == 0


async def test_what_cannot_be_durable_is_503_here_too() -> None:
    """With the time to wait, as a problem document."""
    nowhere = settings_for(
        "postgresql://127.0.0.1:1/nowhere", LEDGER_APPEND_TIMEOUT_SECONDS="0.1"
    )
    async with serving(nowhere) as served, served.connect() as client:
        await client.send(text())
        answer = await client.answer()
        assert (answer.status, served.by_aiohttp) == (503, 0)
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert int(answer.headers["Retry-After"]) >= 1


async def test_an_outage_answers_each_text_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The next of a connection is not answered with what became of the one before."""
    nowhere = settings_for(
        "postgresql://127.0.0.1:1/nowhere", LEDGER_APPEND_TIMEOUT_SECONDS="0.1"
    )
    async with serving(nowhere) as served, served.connect() as client:
        for _ in range(4):
            began = time.monotonic()
            await client.send(text())
            assert (await client.answer()).status == 503
            assert time.monotonic() - began >= 0.1
    assert "settling_failed" not in caplog.messages


async def test_nobody_answers_the_next_request_in_place_of_the_last() -> None:
    """Whoever answers twice is told so, and the connection's next waits for its own."""
    taken: asyncio.Queue[Reply] = asyncio.Queue()

    def take(_: Plain, reply: Reply) -> bool:
        taken.put_nowait(reply)
        return True

    app = web.Application()
    app[EVERYDAY] = Everyday([Route("GET", "/", "/", take)], 1_000)
    async with running(app) as served, served.connect() as client:
        await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        first = await taken.get()
        first.answer(everyday.Answer(200, b"", b"first"))
        await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        second = await taken.get()
        with pytest.raises(RuntimeError):
            first.answer(everyday.Answer(200, b"", b"first again"))
        second.answer(everyday.Answer(200, b"", b"second"))
        assert [(await client.answer()).body for _ in range(2)] == [b"first", b"second"]


async def test_nobody_is_told_where_the_database_is() -> None:
    """Not who has a key to be looked up, whoever it is, and not Twilio."""
    nowhere = settings_for(
        "postgresql://127.0.0.1:1/nowhere", LEDGER_APPEND_TIMEOUT_SECONDS="0.1"
    )
    asked = question("%2B14155550100", key="unknown")
    async with serving(nowhere) as served, served.connect() as client:
        for request in (text(), asked(), asked(TWICE)):
            await client.send(request)
            answer = await client.answer()
            assert answer.status == 503
            assert b"127.0.0.1" not in answer.body


async def test_what_was_answered_503_is_not_answered_again(
    settings: Settings, connection: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """Else the next text of a connection would get the answer of the one before."""
    hasty = settings.model_copy(
        update={"append_timeout_seconds": 0.1, "statement_timeout_seconds": 0.2}
    )
    async with serving(hasty) as served, served.connect() as client:
        async with held(connection):
            for _ in range(2):
                await client.send(text())
                assert (await client.answer()).status == 503
            await connection.execute("ROLLBACK")
        await client.send(text())
        assert (await client.answer()).status == 200
    assert "settling_failed" not in caplog.messages


async def test_an_idle_connection_is_closed_in_time(settings: Settings) -> None:
    """One on which nothing came, and one whose request never becomes whole."""
    async with (
        serving(settings, idle_seconds_max=0.1) as served,
        served.connect() as silent,
        served.connect() as slow,
    ):
        await slow.send(text()[:-1])
        assert await silent.is_closed()
        assert await slow.is_closed()


@asynccontextmanager
async def held(connection: Database) -> AsyncIterator[None]:
    """Nothing can be appended until the block rolls back."""
    await connection.execute("BEGIN")
    await connection.execute("SELECT FROM ledger_position FOR UPDATE")
    yield


def only(served: Served) -> Connection:
    """The one connection that is ours."""
    [found] = served.connections._open  # noqa: SLF001
    return found


def any_received(served: Served) -> bool:
    """Whether a request has begun to come, and none is in work."""
    return any(each._received for each in served.connections._open)  # noqa: SLF001


async def in_work(served: Served) -> None:
    """Return once a request is in work."""
    taken = served.connections
    await eventually(lambda: is_true(taken.requests_count > 0))


async def is_true(value: bool) -> bool:  # noqa: FBT001
    """For ``eventually``."""
    return value


async def is_one_event(connection: Database) -> bool:
    """For ``eventually``."""
    return await count_events(connection) == 1
