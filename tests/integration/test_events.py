"""``GET /events``: the ledger itself, whole or not at all, and live."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
import pytest
from aiohttp import ClientResponse
from api_steps import (
    CONSENT,
    ask,
    deaf,
    has_stopped_reading,
    key_of,
    record,
    refusal,
    text,
)
from builders import NUMBER, SENDER, bearer, signal
from conftest import CatchUp, Client, eventually, settings_for

from ledger import span
from ledger.api import events, streams
from ledger.api.keys import ROLES, Role
from ledger.app import make_app
from ledger.command_handler import CommandHandler
from ledger.domain.ids import PhoneNumber, Position
from ledger.erasure import Erasures
from ledger.errors import StoreUnavailable
from ledger.event_record import event_records, to_lines
from ledger.store.database import Connection
from ledger.store.keyring import Keyring
from ledger.store.postgres import PostgresEventStore

EVENTS: Final = "/events"
LIVE: Final = bearer() | {"Accept": "text/event-stream"}
SECONDS_MAX: Final = 10

Lines = list[dict[str, Any]]


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of three, so that a few events are several."""
    monkeypatch.setattr(span, "BATCH_MAX", 3)
    monkeypatch.setattr(events, "BATCH_MAX", 3)


@pytest.fixture
async def seven(handler: CommandHandler) -> None:
    """A ledger of seven events of three people."""
    for i in range(7):
        status = "in" if i % 2 else "out"
        await handler.handle(signal(phone_number=f"{NUMBER}{i % 3}", status=status))


async def lines(client: Client, query: str = "") -> Lines:
    """What is answered, a line an event; the whole of it, as its header says."""
    response = await client.get(EVENTS + query, headers=bearer())
    assert response.status == 200, await response.text()
    assert response.content_type == "application/x-ndjson"
    found = [json.loads(line) for line in (await response.text()).splitlines()]
    if found:
        assert found[-1]["position"] == int(response.headers["Ledger-Position"])
    return found


@pytest.mark.usefixtures("seven")
async def test_a_line_is_an_event_of_the_store(
    client: Client, store: PostgresEventStore, keyring: Keyring
) -> None:
    """All of them, in order, position first, with what is personal open."""
    response = await client.get(EVENTS, headers=bearer())
    body = await response.read()
    recorded = await store.read_after(Position(0), 100)
    assert body == to_lines(await event_records(keyring, recorded))
    assert body.startswith(b'{"position":1,"kind":"ConsentChanged",')
    first = json.loads(body.splitlines()[0])
    assert (first["phoneNumber"], first["sender"]) == (f"{NUMBER}0", SENDER)
    assert first["evidence"] == {"Body": "STOP"}
    assert first["recordedAt"].endswith("Z")


@pytest.mark.usefixtures("seven")
async def test_parts_join_to_the_whole(client: Client) -> None:
    """However it is cut by after and limit, nothing is missing and nothing twice."""
    whole = await lines(client)
    assert [line["position"] for line in whole] == [*range(1, 8)]
    for limit in (1, 2, 3, 4, 6, 7, 8):
        joined: Lines = []
        while part := await lines(client, f"?after={len(joined)}&limit={limit}"):
            assert len(part) <= limit
            joined += part
        assert joined == whole
    assert await lines(client, "?after=5") == whole[5:]
    assert await lines(client, "?after=7") == await lines(client, "?after=999") == []


async def test_an_empty_ledger_is_no_lines(client: Client) -> None:
    """And a position of 0."""
    response = await client.get(EVENTS, headers=bearer())
    assert (response.status, await response.read()) == (200, b"")
    assert response.headers["Ledger-Position"] == "0"


@pytest.mark.usefixtures("seven")
async def test_what_is_recorded_meanwhile_is_for_the_next(
    client: Client, handler: CommandHandler, store: PostgresEventStore
) -> None:
    """Without a limit an answer goes up to where the ledger was when it began."""
    async with client.get(EVENTS, headers=bearer()) as response:
        await handler.handle(signal())
        assert len((await response.text()).splitlines()) == 7
    assert await store.last_position() == 8


@pytest.mark.usefixtures("seven")
async def test_what_was_destroyed_is_null_and_named(
    client: Client, erasures: Erasures
) -> None:
    """An erased person's events stay, each in its place, without the person."""
    await erasures.erase(PhoneNumber(f"{NUMBER}0"), reason="asked", actor="key:office")
    found = await lines(client)
    gone = [line["position"] for line in found if line.get("destroyed")]
    assert gone == [1, 4, 7]
    assert found[0]["phoneNumber"] is found[0]["evidence"] is None
    assert (found[-1]["kind"], found[-1]["reason"]) == ("SubjectErased", "asked")


@pytest.mark.parametrize(
    "query", ["after=-1", "after=x", "after=", "limit=0", "limit=x", "from=1"]
)
async def test_what_is_no_part_of_a_ledger_is_refused(
    client: Client, query: str
) -> None:
    """Positions and limits are whole numbers; a parameter is known, and given once."""
    response = await client.get(f"{EVENTS}?{query}", headers=bearer())
    assert await refusal(response) == (400, "invalid_query")
    twice = await client.get(f"{EVENTS}?after=1&after=2", headers=bearer())
    assert await refusal(twice) == (400, "invalid_query")


async def test_what_is_no_place_to_follow_from_is_refused(client: Client) -> None:
    """A stream has no limit, and Last-Event-ID is a position."""
    response = await client.get(f"{EVENTS}?limit=5", headers=LIVE)
    assert await refusal(response) == (400, "invalid_query")
    response = await client.get(EVENTS, headers=LIVE | {"Last-Event-ID": "x"})
    assert await refusal(response) == (400, "invalid_query")
    response = await client.get(EVENTS, headers=bearer() | {"Accept": "text/csv"})
    assert await refusal(response) == (406, "not_acceptable")


@pytest.mark.parametrize("role", ROLES)
async def test_events_are_for_auditors(
    client: Client, connection: Connection, role: Role
) -> None:
    """A reader sees status, and no events."""
    response = await client.get(EVENTS, headers=bearer(await key_of(connection, role)))
    assert response.status == (200 if role in ("auditor", "admin") else 403)


@pytest.mark.usefixtures("seven")
async def test_each_reading_is_logged_with_who_read_what(
    client: Client,
    connection: Connection,
    catch_up: CatchUp,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The key's name, the route, the positions or the subject, and how many; a line."""
    await catch_up()
    auditor = bearer(await key_of(connection, "auditor"))
    reader = bearer(await key_of(connection, "reader"))
    caplog.set_level(logging.ERROR)
    caplog.handler.setLevel(logging.NOTSET)
    history = f"/PhoneNumbers/%2B{NUMBER[1:]}1/history"
    await ask(client, history, reader)
    response = await client.get(f"{EVENTS}?after=2&limit=4", headers=auditor)
    await response.read()
    found = await ask(client, history, auditor)
    async with client.get(EVENTS, headers=LIVE) as stream:
        for _ in range(8):
            await block(stream)
    await eventually(lambda: has_read(caplog, 3))
    part, one, live = reads(caplog)
    assert (part.reader, part.route, part.count) == ("auditor", EVENTS, 4)
    assert (part.after, part.until) == (2, 6)
    assert (one.reader, one.count) == ("auditor", len(found["events"]))
    assert one.route == "/PhoneNumbers/{number}/history"
    subject = await connection.fetchval(
        "SELECT originator_id FROM ledger_events WHERE notification_id = 2"
    )
    assert one.subject_id == str(subject)
    assert (live.reader, live.after, live.until) == ("LEDGER_ADMIN_KEY", 0, 7)
    assert NUMBER[1:] not in caplog.text


def reads(caplog: pytest.LogCaptureFixture) -> list[Any]:
    """What was logged as read."""
    return [r for r in caplog.records if r.name == "ledger.reads"]


async def has_read(caplog: pytest.LogCaptureFixture, count: int) -> bool:
    """Whether so many readings were logged."""
    return len(reads(caplog)) == count


@pytest.mark.usefixtures("seven")
@pytest.mark.parametrize(
    "damage",
    [
        """UPDATE ledger_events SET state = convert_to(
        regexp_replace(convert_from(state, 'UTF8'), '(phone_number":".{8}).', '\\1_'),
        'UTF8') WHERE notification_id = 5""",
        "UPDATE ledger_events SET topic = 'from:another' WHERE notification_id = 5",
        "DELETE FROM ledger_events WHERE notification_id = 5",
        "DELETE FROM ledger_events WHERE notification_id = 7",
        "DELETE FROM subject_keys",
    ],
)
async def test_a_fault_in_the_middle_is_no_end(
    client: Client,
    connection: Connection,
    caplog: pytest.LogCaptureFixture,
    damage: str,
) -> None:
    """Lines are cut off, a stream ends with a problem; nothing passes as whole."""
    await connection.execute("SET session_replication_role = replica")
    begun = await client.get(f"{EVENTS}?limit=3", headers=bearer())
    assert len((await begun.text()).splitlines()) == 3
    await connection.execute(damage)
    response = await client.get(EVENTS, headers=bearer())
    if response.status == 200:
        await is_cut(response)
        cut = [r for r in caplog.records if r.getMessage() == "events_cut"]
        assert [r.levelname for r in cut] == ["ERROR"]
    else:
        assert (await refusal(response)) == (500, "key_missing")
    if "= 7" in damage:  # nobody waits for what nobody has announced
        return
    async with client.get(EVENTS, headers=LIVE) as stream:
        found = [await block(stream)]
        while "event" not in found[-1]:
            found.append(await block(stream))
        assert found[-1]["event"] == "problem"
        # Of another release's event another process may know.
        status = 503 if "topic" in damage else 500
        assert json.loads(found[-1]["data"])["status"] == status
        with pytest.raises(aiohttp.ClientPayloadError):
            await block(stream)


@pytest.mark.usefixtures("seven")
async def test_an_outage_cuts_lines_and_a_stream_outlasts_it(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What can be asked for again by position is; a browser would not come back."""
    read_after, calls = PostgresEventStore.read_after, 0

    async def failing(self: PostgresEventStore, *given: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise StoreUnavailable("for a moment")
        return await read_after(self, *given)

    monkeypatch.setattr(PostgresEventStore, "read_after", failing)
    response = await client.get(EVENTS, headers=bearer())
    assert response.status == 200
    await is_cut(response)
    calls = 0
    async with following(client) as stream:
        assert [(await event(stream))["position"] for _ in range(7)] == [*range(1, 8)]


@pytest.mark.usefixtures("seven")
async def test_a_stop_cuts_what_is_not_whole(
    client: Client, handler: CommandHandler
) -> None:
    """A graceful stop waits for no replay, and none passes as whole."""
    for _ in range(20):
        await handler.handle(signal(evidence={"Body": "x" * 500_000}))
    async with client.get(EVENTS, headers=bearer()) as response:
        async with asyncio.timeout(SECONDS_MAX):
            await client.server.close()
        await is_cut(response)


async def is_cut(response: ClientResponse) -> None:
    """What is answered ends, and not well."""
    with pytest.raises(aiohttp.ClientPayloadError):
        async with asyncio.timeout(SECONDS_MAX):
            await response.read()


@asynccontextmanager
async def following(client: Client, **more: str) -> AsyncIterator[ClientResponse]:
    """A stream, begun."""
    headers = LIVE | {name.replace("_", "-"): value for name, value in more.items()}
    async with client.get(EVENTS, headers=headers) as response:
        assert response.status == 200, await response.text()
        assert response.content_type == "text/event-stream"
        begun = await block(response)
        assert (begun["retry"], begun["id"]) == ("1000", more.get("Last_Event_ID", "0"))
        yield response


async def block(response: ClientResponse) -> dict[str, str]:
    """The fields of the next block of a stream."""
    fields = {}
    async with asyncio.timeout(SECONDS_MAX):
        while (line := (await response.content.readline()).decode()) != "\n":
            assert line, "the stream has ended"
            name, _, value = line.rstrip("\n").partition(": ")
            fields[name] = value
    return fields


async def event(response: ClientResponse) -> dict[str, Any]:
    """The next event, its data read."""
    fields = await block(response)
    assert list(fields) == ["id", "data"]
    data = json.loads(fields["data"])
    assert fields["id"] == str(data["position"])
    return dict(data)


@pytest.mark.usefixtures("projector")
async def test_who_follows_is_sent_what_there_is_and_what_comes(
    client: Client, seven: None
) -> None:
    """Each event once, as a line of the replay has it."""
    async with following(client) as stream:
        sent = [await event(stream) for _ in range(7)]
        await text(client)
        sent.append(await event(stream))
        await record(client, CONSENT)
        sent.append(await event(stream))
    assert sent == await lines(client)
    assert seven is None


@pytest.mark.usefixtures("seven")
async def test_a_stream_is_resumed_by_position(client: Client) -> None:
    """With Last-Event-ID, which wins over the address that a browser asks again."""
    async with following(client, Last_Event_ID="5") as stream:
        assert (await event(stream))["position"] == 6
    headers = LIVE | {"Last-Event-ID": "6"}
    async with client.get(f"{EVENTS}?after=2", headers=headers) as stream:
        assert (await block(stream))["id"] == "6"
        assert (await event(stream))["position"] == 7


@pytest.mark.usefixtures("seven")
async def test_a_stream_needs_no_projection(client: Client) -> None:
    """Where nobody rings, it is looked for."""
    async with following(client, Last_Event_ID="7") as stream:
        await text(client)
        assert (await event(stream))["position"] == 8


async def test_a_silent_stream_says_that_it_is_alive(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing is recorded, comments come."""
    monkeypatch.setattr(streams, "HEARTBEAT_SECONDS", 0.05)
    async with following(client) as stream:
        for _ in range(3):
            assert await block(stream) == {"": "nothing new"}


async def test_head_ends(client: Client) -> None:
    """HEAD says how far the ledger goes, for who wants to follow from now on."""
    await text(client)
    for headers in (bearer(), LIVE):
        async with asyncio.timeout(SECONDS_MAX):
            response = await client.head(EVENTS, headers=headers)
            assert response.headers["Ledger-Position"] == "1"
            assert response.headers["Cache-Control"] == "no-store"
            assert await response.read() == b""


MakeClient = Callable[..., Awaitable[Client]]


async def test_long_answers_are_limited(dsn: str, aiohttp_client: MakeClient) -> None:
    """Replays count as the streams do; one too many is 503 with Retry-After."""
    settings = settings_for(dsn, LEDGER_STREAMS_MAX="1")
    client = await aiohttp_client(await make_app(dsn, settings))
    async with following(client):
        response = await client.get(EVENTS, headers=bearer())
        assert await refusal(response) == (503, "try_again")


async def test_no_more_than_a_batch_is_read_ahead_of_who_does_not_read(
    client: Client, handler: CommandHandler, connection: Connection
) -> None:
    """Nor is a transaction or a statement left open for them; who is deaf is cut."""
    body = "x" * 400_000
    for _ in range(30):
        await handler.handle(signal(evidence={"Body": body}))
    async with deaf(client, EVENTS):
        await eventually(lambda: has_stopped_reading(client, connection))
        runner = client.server.runner
        assert runner is not None
        assert runner.server is not None
        [handling] = runner.server.connections
        assert handling.transport is not None
        ahead = handling.transport.get_write_buffer_size()
        assert 0 < ahead < 3.1 * len(body)
        async with asyncio.timeout(SECONDS_MAX):
            await client.server.close()
