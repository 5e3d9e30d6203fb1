"""``PUT``, ``PATCH`` and ``POST``: an application records what a person told it."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from api_steps import CONSENT, ask, count_events, path_of, record, refusal, text
from builders import NUMBER, SENDER, bearer
from conftest import Client, settings_for

from ledger.app import make_app
from ledger.store.database import Connection

POSITION = "Ledger-Position"
POST = {"phoneNumber": NUMBER, **CONSENT}


async def post(client: Client) -> tuple[int, str]:
    """A POST's status, and its position or the code of its refusal."""
    response = await client.post("/PhoneNumbers/", json=POST, headers=bearer())
    if response.status >= 400:
        return await refusal(response)
    assert response.headers["Location"] == path_of()
    return response.status, response.headers[POSITION]


@pytest.mark.usefixtures("projector")
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_the_first_consent_is_created_and_the_next_appended(
    client: Client, connection: Connection, method: str
) -> None:
    """201 for a number that is new, then 200; each answers the record after it."""
    first = await record(client, method=method)
    assert first.status == 201
    assert (await first.json())["status"] == "in"
    second = await record(client, {**CONSENT, "status": "out"}, method=method)
    assert second.status == 200
    assert (await second.json())["status"] == "out"
    assert second.headers["ETag"] != first.headers["ETag"]
    assert (first.headers[POSITION], second.headers[POSITION]) == ("1", "2")
    assert await count_events(connection) == 2
    events = (await ask(client, path_of(rest="/history?minPosition=2")))["events"]
    assert [event["status"] for event in events] == ["in", "out"]
    assert {event["actor"] for event in events} == {"key:LEDGER_ADMIN_KEY"}
    assert {(e["source"], e["matchedBy"]) for e in events} == {("api", "explicit")}


@pytest.mark.usefixtures("projector")
async def test_without_a_sender_it_is_for_every_sender(client: Client) -> None:
    """A consent that names no sender is for ``*``."""
    response = await record(client, {"status": "out"})
    assert (await response.json())["senders"][0]["sender"] == "*"
    assert await ask(client, path_of(rest=f".status?sender={SENDER[1:]}")) == "out"


@pytest.mark.usefixtures("projector")
async def test_the_number_may_be_in_the_body_as_well(client: Client) -> None:
    """The path's number may be repeated in the body, and not contradicted."""
    assert (await record(client, POST)).status == 201
    other = await record(client, {**POST, "phoneNumber": "+14155550101"})
    assert await refusal(other) == (422, "invalid_consent")
    # One number in two spellings, the older of which WhatsApp still uses.
    mexican = {**POST, "phoneNumber": "+5215512345678"}
    assert (await record(client, mexican, number="+525512345678")).status == 201
    assert (await record(client, mexican, number="+5215512345678")).status == 200


@pytest.mark.usefixtures("projector")
async def test_post_creates_and_never_appends(
    client: Client, connection: Connection
) -> None:
    """POST of a number that has a record is 409, and nothing is recorded."""
    assert await post(client) == (201, "1")
    assert await post(client) == (409, "already_exists")
    assert await count_events(connection) == 1


@pytest.mark.usefixtures("projector")
async def test_a_repeat_counts_once(client: Client, connection: Connection) -> None:
    """The same Idempotency-Key and consent answer with the first one's position."""
    first = await record(client, Idempotency_Key="k1")
    await text(client)
    again = await record(client, Idempotency_Key="k1")
    assert (first.status, again.status) == (201, 200)
    assert first.headers[POSITION] == again.headers[POSITION] == "1"
    assert await count_events(connection) == 2


@pytest.mark.usefixtures("projector")
async def test_a_repeat_at_the_same_instant_counts_once(
    client: Client, connection: Connection
) -> None:
    """Of many equal calls at once, one records and all have its position."""
    calls = (record(client, Idempotency_Key="k1") for _ in range(20))
    responses = await asyncio.gather(*calls)
    assert sorted(r.status for r in responses) == [200] * 19 + [201]
    assert {r.headers[POSITION] for r in responses} == {"1"}
    assert await count_events(connection) == 1


@pytest.mark.usefixtures("projector")
async def test_a_key_that_was_used_for_another_consent_is_refused(
    client: Client, connection: Connection
) -> None:
    """The same Idempotency-Key with anything else in it is 422, never the first one."""
    await record(client, Idempotency_Key="k1")
    for changed in (
        {"status": "out"},
        {"sender": "*"},
        {"occurredAt": "2026-01-01T00:00:00Z"},
        {"evidence": {"wording": "another"}},
    ):
        response = await record(client, CONSENT | changed, Idempotency_Key="k1")
        assert await refusal(response) == (422, "idempotency_key_reused"), changed
    response = await record(client, number="+14155550101", Idempotency_Key="k1")
    assert await refusal(response) == (422, "idempotency_key_reused")
    assert await count_events(connection) == 1


@pytest.mark.usefixtures("projector")
async def test_a_repeat_without_its_time_is_another_consent(client: Client) -> None:
    """A consent of then, sent again as one of now, is refused."""
    then = {**CONSENT, "occurredAt": "2026-01-01T00:00:00Z"}
    await record(client, then, Idempotency_Key="k1")
    assert (await record(client, then, Idempotency_Key="k1")).status == 200
    response = await record(client, Idempotency_Key="k1")
    assert await refusal(response) == (422, "idempotency_key_reused")


@pytest.mark.usefixtures("projector")
async def test_if_match_records_only_what_was_seen(
    client: Client, connection: Connection
) -> None:
    """If-Match of the record as it is passes; any other is 412, nothing recorded."""
    etag = (await record(client)).headers["ETag"]
    assert (await record(client, If_Match=etag)).status == 200
    for given in (etag, '"9-9"', '"x"', "x", '""'):
        response = await record(client, If_Match=given)
        assert await refusal(response) == (412, "precondition_failed"), given
    assert await count_events(connection) == 2


@pytest.mark.usefixtures("projector")
async def test_of_two_writers_that_saw_the_same_one_wins(
    client: Client, connection: Connection
) -> None:
    """At the same instant, one If-Match passes and all others are 412."""
    etag = (await record(client)).headers["ETag"]
    calls = (record(client, If_Match=etag) for _ in range(10))
    responses = await asyncio.gather(*calls)
    assert sorted(r.status for r in responses) == [200] + [412] * 9
    assert await count_events(connection) == 2


@pytest.mark.usefixtures("projector")
async def test_a_star_asks_whether_there_is_a_record(
    client: Client, connection: Connection
) -> None:
    """``If-Match: *`` needs a record, ``If-None-Match: *`` needs none."""
    absent = await record(client, If_Match="*")
    assert await refusal(absent) == (412, "precondition_failed")
    assert await count_events(connection) == 0
    assert (await record(client, If_None_Match="*")).status == 201
    again = await record(client, If_None_Match="*")
    assert await refusal(again) == (412, "precondition_failed")
    assert (await record(client, If_Match="*")).status == 200
    other = await record(client, If_None_Match='"1-1"')
    assert await refusal(other) == (400, "invalid_request")
    assert await count_events(connection) == 2


@pytest.mark.usefixtures("projector")
async def test_a_repeat_of_a_conditional_call_is_the_first_ones(
    client: Client, connection: Connection
) -> None:
    """A call that was recorded is answered the same again, its condition aside."""
    condition = {"Idempotency_Key": "k1", "If_None_Match": "*"}
    assert (await record(client, **condition)).status == 201
    again = await record(client, **condition)
    assert (again.status, again.headers.get(POSITION)) == (200, "1")
    headers = bearer() | {"Idempotency-Key": "k2"}
    body = {**POST, "phoneNumber": "+14155550101"}
    for status in (201, 200):
        response = await client.post("/PhoneNumbers/", json=body, headers=headers)
        assert (response.status, response.headers.get(POSITION)) == (status, "2")
    assert await count_events(connection) == 2


async def test_what_is_not_projected_yet_is_accepted(
    dsn: str,
    aiohttp_client: Callable[..., Awaitable[Client]],
    connection: Connection,
) -> None:
    """202 with the position: durable, and not shown yet."""
    settings = settings_for(dsn, LEDGER_WAIT_SECONDS_MAX="0.05")
    client = await aiohttp_client(await make_app(dsn, settings))
    response = await record(client)
    assert response.status == 202
    assert await response.json() == {
        "phoneNumber": NUMBER,
        "status": "in",
        "position": 1,
    }
    assert response.headers[POSITION] == "1"
    assert await count_events(connection) == 1
