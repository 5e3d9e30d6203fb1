"""Notices of changes, posted: each at least once, in order, never skipped.

Telling fails before and after the other side has it, and before and after the
checkpoint is moved.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

import pytest
from aiohttp import web
from api_steps import record, text
from builders import NUMBER, SENDER, bearer
from conftest import Client, eventually, settings_for
from e2e.processes import free_port
from notice_receivers import (
    OTHER_SECRET,
    SECRET,
    Answer,
    Receiver,
    cut,
    receiving,
    slow,
    status,
)

from ledger.app import make_app
from ledger.domain.ids import PhoneNumber
from ledger.erasure import Erasures
from ledger.errors import NoticeUndelivered, UnknownEvent
from ledger.notifying.follower import Follower
from ledger.notifying.standing import ChannelStatus, read_channels
from ledger.notifying.url import UrlChannel
from ledger.reports import print_status, read_status
from ledger.store.database import Connection, Pool
from ledger.store.keyring import Keyring
from ledger.store.postgres import PostgresEventStore

OTHER: Final = PhoneNumber("+14155550101")

Follow = Callable[[UrlChannel], Follower]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """Who is told."""
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
def follow(pool: Pool, store: PostgresEventStore, keyring: Keyring) -> Follow:
    """Makes what tells, as each start of a process does."""
    return lambda channel: Follower(pool, store, keyring, channel)


@pytest.fixture
async def channel(receiver: Receiver) -> AsyncIterator[UrlChannel]:
    """To the receiver."""
    async with UrlChannel(receiver.url, [SECRET], timeout_seconds=0.3) as channel:
        yield channel


@pytest.fixture
async def follower(follow: Follow, channel: UrlChannel) -> Follower:
    """What tells the receiver, started at the beginning of an empty ledger."""
    follower = follow(channel)
    assert await follower.run_once() == 0
    return follower


async def stands(connection: Connection) -> ChannelStatus:
    """Where the one channel stands."""
    [channel] = await read_channels(connection, {"url"})
    return channel


async def test_changes_are_told_from_the_first_start_on(
    client: Client, follow: Follow, channel: UrlChannel, receiver: Receiver
) -> None:
    """What was said before is not; a repeat changes nothing; order is the ledger's."""
    await text(client, "STOP")
    follower = follow(channel)
    assert await follower.run_once() == 0
    for body in ("STOP", "START", "hello", "STOP"):
        await text(client, body)
    await text(client, "START", From=OTHER)
    assert await follower.run_once() == 3
    assert receiver.statuses == ["in", "out", "in"]
    first, _, last = receiver.taken
    assert (first["phoneNumber"], last["phoneNumber"]) == (NUMBER, OTHER)
    assert first["previousStatus"] == "out"
    assert (first["sender"], first["source"]) == (SENDER, "twilio.inbound")
    assert await follow(channel).run_once() == 0


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (status(500), "the receiver answered 500"),
        (status(503), "the receiver answered 503"),
        (status(404), "the receiver answered 404"),
        (status(410), "the receiver answered 410"),
        (status(307), "the receiver answered 307"),
        (cut, "the receiver cannot be used: ServerDisconnectedError"),
        (slow, "the receiver did not answer in time"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_is_not_taken_is_told_again(  # noqa: PLR0913, PLR0917 - a table
    client: Client,
    follower: Follower,
    receiver: Receiver,
    connection: Connection,
    answer: Answer,
    reason: str,
) -> None:
    """It holds back what comes later, and everybody can see that it does, and why."""
    receiver.answers.append(answer)
    before = await stands(connection)
    await text(client, "STOP")
    await text(client, "START")
    with pytest.raises(NoticeUndelivered, match=reason):
        await follower.run_once()
    failing = await stands(connection)
    assert failing.position == before.position
    assert (failing.lag_events, failing.failed_reason) == (2, reason)
    assert await follower.run_once() == 2
    assert receiver.statuses == ["out", "out", "in"]
    assert receiver.ids[0] == receiver.ids[1]
    after = await stands(connection)
    assert (after.lag_events, after.failing_since, after.failed_reason) == (
        0,
        None,
        None,
    )


async def test_a_receiver_that_is_down_is_told_later(
    client: Client,
    follower: Follower,
    follow: Follow,
    receiver: Receiver,
    connection: Connection,
) -> None:
    """Since when it fails is kept over all tries."""
    await text(client, "STOP")
    nowhere = f"http://127.0.0.1:{free_port()}/consent"
    async with UrlChannel(nowhere, [SECRET], timeout_seconds=1) as channel:
        for _ in range(2):
            with pytest.raises(NoticeUndelivered, match="ClientConnectorError"):
                await follow(channel).run_once()
            first = (await stands(connection)).failing_since
    assert (await stands(connection)).failing_since == first
    assert await follower.run_once() == 1
    assert receiver.statuses == ["out"]


async def test_what_was_told_before_a_failure_is_not_told_again(
    client: Client, follower: Follower, receiver: Receiver, connection: Connection
) -> None:
    """The checkpoint is moved past each, and not past all."""
    receiver.answers += [status(200), status(500)]
    for body in ("STOP", "START", "STOP"):
        await text(client, body)
    assert await follower.run_once() == 1
    assert (await stands(connection)).lag_events == 2
    assert await follower.run_once() == 2
    assert receiver.statuses == ["out", "in", "in", "out"]


async def test_a_death_before_the_checkpoint_repeats_one(
    client: Client,
    follow: Follow,
    follower: Follower,
    receiver: Receiver,
    channel: UrlChannel,
) -> None:
    """It has the same id, and the same in it."""
    await text(client, "STOP")
    await text(client, "START")
    task = asyncio.create_task(follower.run_once())

    async def die(_: web.Request) -> web.StreamResponse:
        task.cancel()
        return web.Response()

    receiver.answers.append(die)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await follow(channel).run_once() == 2
    first, again, last = receiver.taken
    assert first == again
    assert last["id"] != first["id"]


async def test_two_processes_at_once_skip_nothing(
    client: Client,
    follow: Follow,
    follower: Follower,
    receiver: Receiver,
    channel: UrlChannel,
) -> None:
    """One of them goes on; the other has repeated one at most, and is no error."""
    for body in ("STOP", "START", "STOP", "START"):
        await text(client, body)
    together = asyncio.Barrier(2)

    async def meet(_: web.Request) -> web.StreamResponse:
        await together.wait()
        return web.Response()

    receiver.answers += [meet, meet]
    done = await asyncio.gather(follower.run_once(), follow(channel).run_once())
    assert sorted(done) == [1, 4]
    assert [*dict.fromkeys(receiver.ids)] == sorted(receiver.ids)[1:]
    assert len(receiver.ids) == 5


async def test_an_erasure_is_told_without_the_number(
    client: Client, follower: Follower, receiver: Receiver, erasures: Erasures
) -> None:
    """And so is what was said before it, where that was not told in time."""
    await text(client, "STOP")
    await erasures.erase(NUMBER, reason="asked", actor="cli:test")
    assert await follower.run_once() == 2
    said, erased = receiver.taken
    assert (said["type"], erased["type"]) == ("consent.changed", "subject.erased")
    assert said["phoneNumber"] is erased["phoneNumber"] is None
    assert said["subjectId"] == erased["subjectId"]
    assert (erased["status"], erased["source"]) == ("out", None)


async def test_an_event_of_another_release_stops_it_there(
    client: Client, follower: Follower, receiver: Receiver, connection: Connection
) -> None:
    """What comes before is told, and nothing is skipped; everybody can see why."""
    await text(client, "STOP")
    await connection.execute(
        "INSERT INTO ledger_events VALUES "
        "(gen_random_uuid(), 1, 'ledger.domain.events:Unheard', '{}', 2)"
    )
    await connection.execute("UPDATE ledger_position SET position = 2")
    await text(client, "START", From=OTHER)
    with pytest.raises(UnknownEvent):
        await follower.run_once()
    assert receiver.statuses == ["out"]
    stopped = await stands(connection)
    assert (stopped.position, stopped.lag_events) == (1, 2)
    assert "Unheard" in (stopped.failed_reason or "")


async def test_a_secret_can_be_changed(
    client: Client, follow: Follow, receiver: Receiver
) -> None:
    """While there are two, a receiver that knows either one takes it."""
    async with UrlChannel(
        receiver.url, [OTHER_SECRET, SECRET], timeout_seconds=5
    ) as channel:
        await follow(channel).run_once()
        for secret, body in ((SECRET, "STOP"), (OTHER_SECRET, "START")):
            receiver.secret = secret
            await text(client, body)
            assert await follow(channel).run_once() == 1


async def test_a_service_tells_by_itself(  # noqa: PLR0913, PLR0917 - a whole service
    dsn: str,
    aiohttp_client: Callable[..., Awaitable[Client]],
    receiver: Receiver,
    connection: Connection,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Two processes, one of which tells; what fails is seen, and no number is."""
    caplog.set_level(logging.DEBUG)
    given = {
        "LEDGER_NOTIFY_URL": receiver.url,
        "LEDGER_NOTIFY_SECRET": SECRET,
        "LEDGER_POLL_SECONDS": "0.05",
        # No projector runs: what waits for one waits in vain.
        "LEDGER_WAIT_SECONDS_MAX": "0.05",
    }
    settings = settings_for(dsn, **given)
    both = [await aiohttp_client(await make_app(dsn, settings)) for _ in range(2)]

    async def is_started() -> bool:
        return bool(await read_channels(connection, {"url"}))

    async def is_told() -> bool:
        return receiver.statuses == ["out", "out", "in"]

    await eventually(is_started)
    receiver.answers.append(status(500))
    await text(both[0], "STOP")
    await record(both[1], {"status": "in", "sender": SENDER})
    await eventually(is_told)
    metrics = await (await both[0].get("/metrics", headers=bearer())).text()
    assert 'ledger_notices_total{channel="url",outcome="failed"}' in metrics
    assert 'ledger_notices_lag_events{channel="url"}' in metrics
    [waits] = [r for r in caplog.records if r.message == "background_waits"]
    assert vars(waits)["work"] == "notices url"
    print_status(await read_status(connection, {"url"}), as_json=True)
    shown = capsys.readouterr().out
    assert json.loads(shown)["notices"][0]["channel"] == "url"
    print_status(await read_status(connection, {"url"}), as_json=False)
    assert "notices   url: 0 events behind\n" in capsys.readouterr().out
    off = await read_status(connection, [])
    assert [channel.is_set for channel in off.notices] == [False]
    print_status(off, as_json=False)
    at = await connection.fetchval("SELECT position FROM notice_channels")
    assert f"notices   url: not set here, told to {at}\n" in capsys.readouterr().out
    for told in (metrics, shown, *map(str, map(vars, caplog.records))):
        assert NUMBER not in told
        assert receiver.url not in told
