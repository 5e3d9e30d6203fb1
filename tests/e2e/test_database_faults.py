"""The database is lost, refuses, or is slow: 503, and nothing acknowledged is lost.

Also what two services on one database do to each other at the same instant. All use
one server of this module's own, with fsync on, that the tests may break.
"""

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

import aiohttp
import asyncpg
import pytest
from builders import text_form
from e2e.audit import Whole, assert_whole, read_whole
from e2e.processes import (
    TWILIO_TIMEOUT,
    Answer,
    Load,
    Service,
    command_line,
    environment_for,
    eventually,
    new_folder,
    post,
    postgres_below,
    postmaster_of,
    running,
)

from ledger.domain.events import ConsentChanged
from ledger.store.database import Connection
from ledger.store.embedded import EmbeddedPostgres

INSTANTS: Final = 40
DISK_BYTES: Final = 64 * 2**20
EMBEDDED_DISK_BYTES: Final = 150 * 2**20
FILLED_BYTES: Final = 2**20
TEXTS_MAX: Final = 100

# What the server says of a full disk, where we may not mount a small one.
PRETEND_FULL: Final = """
CREATE FUNCTION pretend_full() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE 'could not extend file' USING ERRCODE = 'disk_full'; END $$;
CREATE TRIGGER pretend_full BEFORE INSERT ON ledger_events
    FOR EACH STATEMENT EXECUTE FUNCTION pretend_full()"""

Form = Mapping[str, str]


class Pair(NamedTuple):
    """Two services on one database; ``other`` waits briefly, in a short queue."""

    server: EmbeddedPostgres
    folder: Path
    dsn: str
    one: Service
    other: Service

    async def lose_database(self) -> None:
        """What ``pg_ctl stop -m immediate`` does, until the last of it is gone."""
        postmaster_of(self.folder).send_signal(signal.SIGQUIT)
        await eventually(lambda: postgres_below(self.folder) == [])

    async def find_database(self) -> None:
        """It is back."""
        await asyncio.to_thread(self.server.start)

    def web_processes(self) -> set[int]:
        """They are the same as long as nothing was started again."""
        return {p.pid for s in (self.one, self.other) for p in s.web_processes()}


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    """Both services, ready."""
    with new_folder() as folder, started(folder / "server") as (server, dsn):
        for name in ("one", "other"):
            (folder / name).mkdir()
        shared = {"DATABASE_URL": dsn, "LEDGER_WORKERS": "1"}
        # Long enough for two to meet at a lock while other tests have the machine.
        short = {"LEDGER_APPEND_TIMEOUT_SECONDS": "2", "LEDGER_QUEUE_MAX": "1"}
        migrated = command_line(environment_for(folder / "one", 0) | shared, "migrate")
        assert migrated.returncode == 0, migrated.stderr
        with (
            running(folder / "one", shared) as one,
            running(folder / "other", shared | short) as other,
        ):
            asyncio.run(one.ready())
            asyncio.run(other.ready())
            yield Pair(server, folder / "server", dsn, one, other)


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """Connections to post through."""
    async with aiohttp.ClientSession(timeout=TWILIO_TIMEOUT) as session:
        yield session


@pytest.fixture
async def connection(pair: Pair) -> AsyncIterator[Connection]:
    """A plain connection, for making trouble."""
    opened = await asyncpg.connect(pair.dsn)
    yield opened
    await opened.close()


async def test_a_batch_whose_database_is_lost_is_recorded_when_it_is_back(
    pair: Pair, session: aiohttp.ClientSession, connection: Connection
) -> None:
    """A text that was being appended is answered 200, once, by the same process."""
    web = pair.web_processes()
    await lock_counter(connection)
    form = text_form()
    posting = asyncio.create_task(post(session, pair.one.url, form))
    await eventually(lambda: are_waiting(connection, 1))
    await pair.lose_database()
    assert not posting.done()
    await pair.find_database()
    assert (await posting)[0] == 200
    assert_whole(await read_whole(pair.dsn), [form["MessageSid"]])
    assert pair.web_processes() == web


async def test_nothing_acknowledged_is_lost_with_the_database(pair: Pair) -> None:
    """Clients see 503 while it is away and 200 when it is back; what had 200 stays."""
    web = pair.web_processes()
    async with Load(pair.one.url, pair.other.url, seed=1) as load:
        for _ in range(2):
            await load.acknowledged_more(100)
            await pair.lose_database()
            refused = load.answers[503]
            await eventually(lambda: load.answers[503] > refused)  # noqa: B023
            await pair.find_database()
        await load.acknowledged_more(100)
    assert set(load.answers) == {200, 503}
    acknowledged = load.all_acknowledged()
    assert_whole(await read_whole(pair.dsn), acknowledged)
    assert pair.web_processes() == web


async def test_a_text_posted_to_two_services_at_once_is_recorded_once(
    pair: Pair, session: aiohttp.ClientSession, connection: Connection
) -> None:
    """Both answer 200, whether they meet at the counter's lock or just before it."""
    forms = [text_form(From=f"+1415666{i:04}") for i in range(INSTANTS)]
    before = len((await read_whole(pair.dsn)).events)
    for form in forms:
        assert await post_both(pair, session, form, form) == [200, 200]
    held = text_form()
    async with both_waiting(connection):
        posting = asyncio.create_task(post_both(pair, session, held, held))
    assert await posting == [200, 200]
    whole = await read_whole(pair.dsn)
    # What a text says of consent, and the text itself.
    assert len(whole.events) == before + 2 * (INSTANTS + 1)
    assert_whole(whole, [form["MessageSid"] for form in (*forms, held)])


async def test_a_stop_and_a_start_at_the_same_instant_are_both_recorded(
    pair: Pair, session: aiohttp.ClientSession, connection: Connection
) -> None:
    """They are versions 1 and 2, and the second knows what the first has said."""
    for i in range(INSTANTS):
        stop, start = (text_form(b, From=f"+1415777{i:04}") for b in ("STOP", "START"))
        assert await post_both(pair, session, stop, start) == [200, 200]
    stop, start = (text_form(b, From="+14157779999") for b in ("STOP", "START"))
    async with both_waiting(connection):
        posting = asyncio.create_task(post_both(pair, session, stop, start))
    assert await posting == [200, 200]
    whole = await read_whole(pair.dsn)
    assert_whole(whole, [stop["MessageSid"], start["MessageSid"]])
    for number in (*(f"+1415777{i:04}" for i in range(INSTANTS)), "+14157779999"):
        first, second = events_of(whole, number)
        assert (first.version, first.previous_status) == (1, "unknown")
        assert (second.version, second.previous_status) == (2, first.status)
        assert {first.status, second.status} == {"in", "out"}


async def test_a_full_queue_answers_503_at_once(
    pair: Pair, session: aiohttp.ClientSession, connection: Connection
) -> None:
    """With one text at the database and one in the queue, the third is told when."""
    await lock_counter(connection)
    first = asyncio.create_task(post(session, pair.other.url, text_form()))
    await eventually(lambda: are_waiting(connection, 1))
    more = [
        asyncio.create_task(post(session, pair.other.url, text_form()))
        for _ in range(2)
    ]
    [refused], [queued] = await asyncio.wait(more, return_when="FIRST_COMPLETED")
    assert_refused(refused.result(), "queue_full")
    await connection.execute("COMMIT")
    assert [(await answer)[0] for answer in (first, queued)] == [200, 200]


async def test_a_read_only_database_answers_503(
    pair: Pair, session: aiohttp.ClientSession, connection: Connection
) -> None:
    """Until it can be written again; then the same text is recorded, once."""
    form = text_form()
    await connection.execute("ALTER SYSTEM SET default_transaction_read_only = on")
    await connection.execute("SELECT pg_reload_conf()")
    assert_refused(await post_until(503, pair, session), "store_unavailable")
    assert_refused(await post(session, pair.other.url, form), "store_unavailable")
    await connection.execute("ALTER SYSTEM RESET default_transaction_read_only")
    await connection.execute("SELECT pg_reload_conf()")
    await post_until(200, pair, session)
    assert (await post(session, pair.other.url, form))[0] == 200
    assert_whole(await read_whole(pair.dsn), [form["MessageSid"]])


async def test_a_full_disk_answers_503(
    pair: Pair, session: aiohttp.ClientSession, connection: Connection
) -> None:
    """Until there is room; every text that was answered 200 is there."""
    form = text_form()
    async with disk_full(pair, connection):
        assert_refused(await post_until(503, pair, session), "store_unavailable")
        assert_refused(await post(session, pair.other.url, form), "store_unavailable")
    assert (await post(session, pair.other.url, form))[0] == 200
    assert_whole(await read_whole(pair.dsn), [form["MessageSid"]])


async def test_a_disk_too_full_for_the_log_is_outlived(
    session: aiohttp.ClientSession,
) -> None:
    """The embedded server gives up, is started until there is room, and answers 200."""
    with new_folder() as folder, small_disk(folder, EMBEDDED_DISK_BYTES) as disk:
        if disk is None:
            pytest.skip("a small disk cannot be mounted here")
        with running(disk, {"LEDGER_APPEND_TIMEOUT_SECONDS": "0.5"}) as service:
            await service.ready()
            sids = []
            form = text_form()
            answer = await post(session, service.url, form)
            assert answer[0] == 200
            fill(disk / "ballast")
            with suppress(asyncpg.PostgresError, asyncpg.InterfaceError):
                await switch_log_files(service.dsn())
            # What still fits into the log is recorded, and must be there in the end.
            while answer[0] == 200:
                sids.append(form["MessageSid"])
                form = text_form()
                answer = await post(session, service.url, form)
            assert_refused(answer, "store_unavailable")
            (disk / "ballast").unlink()
            await service.ready()
            assert (await post(session, service.url, form))[0] == 200
            sids.append(form["MessageSid"])
            assert_whole(await read_whole(service.dsn()), sids)
            assert await asyncio.to_thread(service.stop) == 0


async def post_both(
    pair: Pair, session: aiohttp.ClientSession, form: Form, other_form: Form
) -> list[int]:
    """Post to both services at the same time; both statuses."""
    answers = await asyncio.gather(
        post(session, pair.one.url, form), post(session, pair.other.url, other_form)
    )
    return [status for status, *_ in answers]


async def post_until(status: int, pair: Pair, session: aiohttp.ClientSession) -> Answer:
    """Post different texts until one is answered with ``status``."""
    for _ in range(TEXTS_MAX):
        answer = await post(session, pair.other.url, text_form())
        if answer[0] == status:
            return answer
    raise AssertionError(f"none of {TEXTS_MAX} texts was answered {status}: {answer}")


def assert_refused(answer: Answer, code: str) -> None:
    """A problem document that says why, and when to come again."""
    status, headers, body = answer
    assert status == 503
    assert headers["Content-Type"] == "application/problem+json"
    assert int(headers["Retry-After"]) >= 1
    assert json.loads(body)["code"] == code


def events_of(whole: Whole, number: str) -> list[ConsentChanged]:
    """What the ledger has of one number, in order."""
    return [
        event
        for _, event in whole.events
        if isinstance(event, ConsentChanged)
        and whole.people[event.subject_id] == number
    ]


@contextmanager
def started(data_dir: Path) -> Iterator[tuple[EmbeddedPostgres, str]]:
    """A server of our own, as shipped, and how to reach it."""
    server = EmbeddedPostgres(data_dir)
    try:
        yield server, server.start()
    finally:
        server.stop()


async def lock_counter(connection: Connection) -> None:
    """Nothing is appended until ``connection`` commits, or is lost."""
    await connection.execute("BEGIN")
    await connection.execute("SELECT * FROM ledger_position FOR UPDATE")


async def are_waiting(connection: Connection, count: int) -> bool:
    """Whether so many appends wait for the counter."""
    # The projectors wait for it, too, when they say that they have nothing to do.
    waiting = await connection.fetchval(
        """SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)
        WHERE NOT granted AND application_name = 'consent-ledger web'"""
    )
    return bool(waiting == count)


@asynccontextmanager
async def both_waiting(connection: Connection) -> AsyncIterator[None]:
    """What is begun in the context meets at the counter, everything being decided."""
    await lock_counter(connection)
    yield
    await eventually(lambda: are_waiting(connection, 2))
    await connection.execute("COMMIT")


@asynccontextmanager
async def disk_full(pair: Pair, connection: Connection) -> AsyncIterator[None]:
    """The events are on a disk without room: a small one, or a pretended one."""
    with small_disk(pair.folder, DISK_BYTES) as disk:
        if disk is None:
            await connection.execute(PRETEND_FULL)
            yield
            await connection.execute("DROP FUNCTION pretend_full CASCADE")
            return
        server = (pair.folder / "postgres").stat()
        os.chown(disk, server.st_uid, server.st_gid)
        await connection.execute(f"CREATE TABLESPACE small LOCATION '{disk}'")
        await connection.execute("ALTER TABLE ledger_events SET TABLESPACE small")
        fill(disk / "ballast")
        yield
        (disk / "ballast").unlink()
        await connection.execute("ALTER TABLE ledger_events SET TABLESPACE pg_default")
        await connection.execute("DROP TABLESPACE small")


async def switch_log_files(dsn: str) -> None:
    """Make the server want another log file, until it cannot have one."""
    connection = await asyncpg.connect(dsn)
    try:
        for _ in range(TEXTS_MAX):
            await connection.execute("SELECT pg_switch_wal()")
            await connection.execute("SELECT pg_logical_emit_message(true, '', 'more')")
    finally:
        await connection.close()


@contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[Path | None]:
    """A disk in ``folder``; None where we may not mount one."""
    disk = folder / "disk"
    disk.mkdir()
    options = f"size={size_bytes},mode=0755"
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)]
    if subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        yield None
        return
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(file: Path) -> None:
    """Write until there is no room."""
    with suppress(OSError), file.open("wb", buffering=0) as ballast:
        while ballast.write(bytes(FILLED_BYTES)) > 0:
            pass
