"""Server-sent events: who follows sees every number's newest state."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import pytest
from aiohttp import ClientResponse
from api_steps import ask, deaf, has_stopped_reading, record, refusal, text
from builders import NUMBER, bearer
from conftest import CatchUp, Client, eventually, settings_for
from list_rows import fill

from ledger.api import streams
from ledger.app import make_app
from ledger.store.database import Connection

LIST = "/PhoneNumbers/"
OTHER = "+14155550177"
SECONDS_MAX = 10

Event: TypeAlias = dict[str, Any]
MakeClient = Callable[..., Awaitable[Client]]


@asynccontextmanager
async def following(
    client: Client, path: str = LIST, last: str | None = None
) -> AsyncIterator[ClientResponse]:
    """A stream, begun: what is recorded from now on will be in it."""
    headers = bearer() | {"Accept": "text/event-stream"}
    if last is not None:
        headers["Last-Event-ID"] = last
    async with client.get(path, headers=headers) as response:
        assert response.status == 200, await response.text()
        assert response.content_type == "text/event-stream"
        begun = await block(response)
        assert begun is not None
        assert begun["retry"]
        yield response


async def block(response: ClientResponse) -> Event | None:
    """The fields of the next block; None where the stream has ended."""
    fields: Event = {}
    async with asyncio.timeout(SECONDS_MAX):
        while line := (await response.content.readline()).decode():
            if line == "\n":
                return fields
            name, _, value = line.rstrip("\n").partition(": ")
            fields[name] = value
    assert not fields, "an event is written whole"
    return None


async def event(response: ClientResponse) -> Event:
    """The next event, its data read."""
    fields = await block(response)
    assert fields is not None, "the stream has ended"
    assert list(fields) == ["id", "event", "data"]
    assert fields["event"] == "put"
    data = json.loads(fields["data"])
    assert fields["id"] == str(data["position"])
    return dict(data)


@pytest.mark.usefixtures("projector")
async def test_a_change_is_sent_to_who_follows(client: Client) -> None:
    """A STOP arrives as the record that the list has; what was before does not."""
    await text(client, From=OTHER)
    await eventually(lambda: seen(client, 1))
    async with following(client) as stream:
        await text(client)
        sent = await event(stream)
    assert sent["phoneNumber"] == NUMBER
    assert sent in await ask(client, LIST)


@pytest.mark.usefixtures("projector")
async def test_one_number_can_be_followed(client: Client) -> None:
    """Only its own changes are in a number's stream, each with its senders."""
    async with following(client, f"{LIST}{NUMBER}") as stream:
        await text(client, From=OTHER)
        await text(client)
        first = await event(stream)
        assert first == await ask(client)
        await text(client, "START", From=OTHER)
        await text(client, "START")
        assert (await event(stream))["status"] == "in"


@pytest.mark.usefixtures("projector")
async def test_a_stream_resumes_without_a_loss(client: Client) -> None:
    """With Last-Event-ID, what was missed comes first, each number's newest state."""
    async with following(client) as stream:
        await text(client)
        last = str((await event(stream))["position"])
    await text(client, "START")
    for i in range(30):
        await text(client, From=f"+141555502{i:02}")
    await text(client, "STOP", From=OTHER)
    await text(client, "START", From=OTHER)
    await eventually(lambda: seen(client, 34))
    async with following(client, last=last) as stream:
        missed = [await event(stream) for _ in range(32)]
        await text(client)
        assert (await event(stream))["position"] == 35
    assert [sent["position"] for sent in missed] == [*range(2, 33), 34]
    assert missed[-1]["phoneNumber"] == OTHER
    assert missed[-1]["status"] == "in"
    assert missed[-1]["version"] == 2


async def seen(client: Client, position: int) -> bool:
    """Whether the list has the event at a position."""
    listed = await ask(client, f"{LIST}?sort(-position)&limit=1")
    return bool(listed) and bool(listed[0]["position"] == position)


async def test_a_stream_that_broke_before_its_first_event_resumes(
    client: Client, catch_up: CatchUp
) -> None:
    """A stream begins with an id, so nothing is lost before the first change."""
    await text(client)
    await catch_up()
    headers = bearer() | {"Accept": "text/event-stream"}
    async with client.get(LIST, headers=headers) as response:
        begun = await block(response)
    assert begun is not None
    assert begun["id"] == "1"
    await text(client, From=OTHER)
    await catch_up()
    async with following(client, last=begun["id"]) as stream:
        assert (await event(stream))["phoneNumber"] == OTHER


@pytest.mark.usefixtures("projector")
async def test_a_snapshot_comes_first_where_it_is_asked_for(client: Client) -> None:
    """?snapshot=true sends every number as it is, then what changes."""
    await text(client)
    await text(client, "START", From=OTHER)
    await text(client, "START")
    await eventually(lambda: seen(client, 3))
    async with following(client, f"{LIST}?snapshot=true") as stream:
        rows = [await event(stream) for _ in range(2)]
        await text(client, From=OTHER)
        assert (await event(stream))["position"] == 4
    assert [row["position"] for row in rows] == [2, 3]
    async with following(client, f"{LIST}{NUMBER}?snapshot=true") as stream:
        assert (await event(stream))["position"] == 3
    # Who comes back in the middle of a snapshot is sent the rest of it.
    async with following(client, f"{LIST}?snapshot=true", last="3") as stream:
        assert (await event(stream))["position"] == 4


async def test_a_snapshot_of_many_pages_is_whole(
    client: Client, connection: Connection
) -> None:
    """Every row comes once, in order of position, over several readings."""
    await fill(connection, 1700)
    async with following(client, f"{LIST}?snapshot=true") as stream:
        sent = [(await event(stream))["position"] for _ in range(1700)]
    assert sent == [*range(1, 1701)]


async def test_what_is_no_place_to_begin_is_refused(client: Client) -> None:
    """Last-Event-ID must be a position; a stream has no filter but the number."""
    headers = bearer() | {"Accept": "text/event-stream"}
    for path in (LIST, f"{LIST}{NUMBER}"):
        for raw, last in (
            ("", "x"),
            ("", "-1"),
            ("snapshot=maybe", "1"),
            ("status=out", "1"),
            ("snapshot=true&snapshot=true", "1"),
        ):
            response = await client.get(
                f"{path}?{raw}", headers=headers | {"Last-Event-ID": last}
            )
            assert await refusal(response) == (400, "invalid_query")
    assert await refusal(
        await client.get(LIST, headers={"Accept": "text/event-stream"})
    ) == (401, "unauthenticated")


async def test_head_of_a_stream_ends(client: Client) -> None:
    """HEAD has a stream's headers, and is over."""
    headers = bearer() | {"Accept": "text/event-stream"}
    async with asyncio.timeout(SECONDS_MAX):
        response = await client.head(LIST, headers=headers)
        assert response.content_type == "text/event-stream"
        assert response.headers["Cache-Control"] == "no-store"
        assert await response.read() == b""


async def test_a_silent_stream_says_that_it_is_alive(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing changes, comments come."""
    monkeypatch.setattr(streams, "HEARTBEAT_SECONDS", 0.05)
    async with following(client) as stream:
        for _ in range(3):
            assert await block(stream) == {"": "nothing new"}


async def test_streams_are_limited(
    dsn: str, aiohttp_client: MakeClient, catch_up: CatchUp
) -> None:
    """One stream too many is 503 with Retry-After; who leaves makes room."""
    settings = settings_for(dsn, LEDGER_STREAMS_MAX="2")
    client = await aiohttp_client(await make_app(dsn, settings))
    headers = bearer() | {"Accept": "text/event-stream"}
    async with following(client), following(client, f"{LIST}{NUMBER}"):
        response = await client.get(LIST, headers=headers)
        assert await refusal(response) == (503, "try_again")
        assert int(response.headers["Retry-After"]) > 0
        assert await ask(client, LIST) == []

    async def has_room() -> bool:
        async with client.get(LIST, headers=headers) as response:
            return response.status == 200

    await eventually(has_room)
    await catch_up()


@pytest.mark.usefixtures("projector")
async def test_a_stream_outlasts_lost_connections(
    client: Client, connection: Connection
) -> None:
    """When every connection to the database breaks, the stream goes on after it."""
    async with following(client) as stream:
        await connection.execute(
            """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid()"""
        )
        await record(client)
        assert (await event(stream))["phoneNumber"] == NUMBER


async def test_a_stop_ends_streams_at_once(client: Client) -> None:
    """A graceful stop waits for no stream, and each ends between two events."""
    async with (
        following(client) as all_numbers,
        following(client, LIST + NUMBER) as one,
    ):
        async with asyncio.timeout(SECONDS_MAX):
            await client.server.close()
        assert await block(all_numbers) is None
        assert await block(one) is None


async def test_a_client_that_does_not_read_holds_up_nothing(
    client: Client, connection: Connection
) -> None:
    """It keeps no transaction open, and the service stops without it."""
    await fill(connection, 60_000)
    async with deaf(client, f"{LIST}?snapshot=true", Accept="text/event-stream"):
        await eventually(lambda: has_stopped_reading(client, connection))
        async with asyncio.timeout(SECONDS_MAX):
            await client.server.close()


async def test_a_client_that_does_not_read_is_cut_off(
    client: Client, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a while its connection is closed, whatever was still to be sent."""
    monkeypatch.setattr(streams, "WRITE_SECONDS_MAX", 0.2)
    await fill(connection, 60_000)
    runner = client.server.runner
    assert runner is not None
    server = runner.server
    assert server is not None

    async def is_alone() -> bool:
        return not server.connections

    async with deaf(client, f"{LIST}?snapshot=true", Accept="text/event-stream"):
        assert server.connections
        await eventually(is_alone)
