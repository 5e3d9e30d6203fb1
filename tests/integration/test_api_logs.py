"""Logs are JSON, name a request by its id, and never a person or what was said."""

import asyncio
import json
import logging
import sys
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from aiohttp import ClientResponse
from api_steps import path_of
from builders import PATH, bearer, signed, text_form
from conftest import CatchUp, Client

from ledger.logs import configure_logging
from ledger.store.database import Connection

PERSON = "+14155550123"
SAID = "please stop texting me, marked-body"
MARKS = (PERSON, PERSON[1:], PERSON[2:], "marked-body", "marked-evidence")


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> Iterator[StringIO]:
    """Everything logged at debug level, as the service logs it; libraries' as well."""
    stream, root = StringIO(), logging.getLogger()
    before, level = root.handlers[:], root.level
    root.handlers.clear()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        configure_logging("debug")
    # ``serve`` has no access log but ours; the test server has aiohttp's.
    monkeypatch.setattr(logging.getLogger("aiohttp.access"), "disabled", True)
    yield stream
    root.handlers[:] = before
    root.setLevel(level)


def lines(logged: StringIO) -> list[dict[str, Any]]:
    """The lines logged since last asked, each of which must be JSON and name nobody."""
    text = logged.getvalue()
    logged.seek(0)
    logged.truncate()
    assert [mark for mark in MARKS if mark in text] == []
    found = [json.loads(line) for line in text.splitlines()]
    for entry in found:
        assert {"level", "logger", "event", "timestamp"} <= set(entry)
    return found


async def send(
    client: Client, body: str = SAID, headers: dict[str, str] | None = None, **more: str
) -> ClientResponse:
    """The person's text; signed, if no headers are given."""
    form = text_form(body, From=PERSON, **more)
    return await client.post(PATH, data=form, headers=headers or signed(form))


async def test_a_request_is_logged_by_its_id_and_pattern(
    client: Client, catch_up: CatchUp, logged: StringIO
) -> None:
    """One line a request, with the id that the answer has and the route's pattern."""
    await send(client)
    await catch_up()
    lines(logged)
    headers = bearer() | {"X-Request-Id": "trace-7"}
    response = await client.get(path_of(PERSON), headers=headers)
    assert response.status == 200
    [entry] = [e for e in lines(logged) if e["event"] == "request"]
    assert entry["request_id"] == "trace-7" == response.headers["X-Request-Id"]
    assert entry["route"] == "/PhoneNumbers/{number}"
    assert (entry["method"], entry["status"]) == ("GET", 200)
    assert entry["seconds"] >= 0


@pytest.mark.usefixtures("projector")
async def test_what_goes_well_is_logged_without_the_person(
    client: Client, logged: StringIO
) -> None:
    """Texts, consents and reads leave no number and no words in the logs."""
    assert (await send(client)).status == 200
    assert (await send(client, "START")).status == 200
    form = text_form(SAID, From=PERSON)
    url = str(client.make_url(PATH).with_query(form).relative())
    response = await client.get(url, headers=signed({}, path=url))
    assert response.status == 200
    consent = {"status": "in", "evidence": {"wording": "marked-evidence"}}
    put = await client.put(path_of(PERSON), json=consent, headers=bearer())
    assert put.status in (200, 201)
    for rest in ("", ".status", "/history", "?sender=%2B14155550123"):
        path = path_of(PERSON, rest)
        assert (await client.get(path, headers=bearer())).status == 200
    assert len([e for e in lines(logged) if e["event"] == "request"]) == 8


async def test_what_is_refused_is_logged_without_the_person(
    client: Client, logged: StringIO
) -> None:
    """Refusals of every kind leave no number and no words in the logs."""
    forged = {"X-Twilio-Signature": "forged"}
    assert (await send(client, headers=forged)).status == 403
    assert (await send(client, To=PERSON * 100)).status == 422
    blank = text_form(SAID, From=PERSON, MessageSid="", SmsSid="", SmsMessageSid="")
    response = await client.post(PATH, data=blank, headers=signed(blank))
    assert response.status == 422
    assert (await send(client, SAID * 10_000)).status == 413
    for consent in ({"status": PERSON}, {PERSON: SAID}, SAID, {"sender": SAID}):
        response = await client.put(path_of(PERSON), json=consent, headers=bearer())
        assert response.status == 422
    bad = f'{{"status": "{PERSON}"'
    headers = bearer() | {"Content-Type": "application/json"}
    response = await client.put(path_of(PERSON), data=bad, headers=headers)
    assert response.status == 400
    for path in (path_of(PERSON), f"/{PERSON}/x", path_of(PERSON, f"?x={PERSON}")):
        key = bearer() if "?" in path else {}
        assert (await client.get(path, headers=key)).status in (400, 401, 404)
    keys = bearer(PERSON) | {"X-Request-Id": PERSON, "Idempotency-Key": SAID}
    assert (await client.get(path_of(PERSON), headers=keys)).status == 401
    entries = lines(logged)
    assert {e["status"] for e in entries if e["event"] == "request"} == {
        *(400, 401, 403, 404, 413, 422)
    }
    [unusable, *_] = [e for e in entries if e["event"] == "unusable_text"]
    assert unusable["level"] == "WARNING"


async def test_a_malformed_request_is_logged_without_the_person(
    client: Client, logged: StringIO
) -> None:
    """What is not HTTP is answered 400, and not written into the logs."""
    for request in (
        f"GET /PhoneNumbers/{PERSON} {PERSON}\r\n\r\n",
        f"{PERSON} / HTTP/1.1\r\nHost: x\r\n\r\n",
        f"GET / HTTP/1.1\r\nHost: x\r\n{PERSON}\r\n\r\n",
        f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: {PERSON}\r\n\r\n{SAID}",
    ):
        reader, writer = await asyncio.open_connection(client.host, client.port)
        writer.write(request.encode())
        assert b" 400 " in await reader.readline()
        writer.close()
        await writer.wait_closed()
    lines(logged)


async def test_a_failure_of_the_database_is_logged_without_the_person(
    client: Client, connection: Connection, logged: StringIO
) -> None:
    """An outage is 503 and a warning; what PostgreSQL says of the row stays out."""
    await connection.execute("ALTER TABLE ledger_events RENAME TO hidden")
    assert (await send(client)).status >= 500
    await connection.execute("ALTER TABLE hidden RENAME TO ledger_events")
    # PostgreSQL's detail shows the row that fails: here the whole event.
    await connection.execute(
        "ALTER TABLE signal_keys ADD CONSTRAINT none CHECK (position < 0) NOT VALID"
    )
    assert (await send(client, MessageSid=f"SM{PERSON}")).status >= 500
    entries = lines(logged)
    assert {"WARNING", "ERROR"} & {entry["level"] for entry in entries}


@pytest.mark.usefixtures("projector")
async def test_a_poisoned_projection_names_nobody(
    client: Client, connection: Connection, logged: StringIO
) -> None:
    """A row that a table refuses stops the projection; its content is shown nowhere."""
    await connection.execute(
        "ALTER TABLE phone_numbers_v1 ADD CONSTRAINT none CHECK (false) NOT VALID"
    )
    assert (await send(client)).status == 200
    reasons: list[str] = []
    while not any("has stopped" in reason for reason in reasons):
        answer = await (await client.get("/readyz")).text()
        reasons = json.loads(answer)["reasons"]
    assert [mark for mark in MARKS if mark in answer] == []
    [entry] = [e for e in lines(logged) if e["event"] == "projection_stopped"]
    assert entry["level"] == "ERROR"


async def test_a_lost_connection_is_logged_without_the_person(
    client: Client, connection: Connection, logged: StringIO
) -> None:
    """Cut off in the middle of appends, the service says so without the texts."""
    sending = [asyncio.create_task(send(client)) for _ in range(20)]
    await connection.fetch(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    for response in await asyncio.gather(*sending):
        assert response.status in (200, 503)
    lines(logged)
