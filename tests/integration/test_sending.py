"""``POST /Messages``: nothing goes to whoever is out, and nothing goes twice."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from api_steps import record, text
from builders import NUMBER, SENDER, bearer, signed, text_form
from conftest import CatchUp, Client, settings_for
from sending_steps import (
    LATER,
    SERVICE,
    TEMPLATE,
    Start,
    kinds,
    post,
    sending_settings,
)
from twilio_api import faults
from twilio_api.documents import Account
from twilio_api.faults import Fault
from twilio_api.messages import block, sent
from twilio_api.standin import StandIn

from ledger.app import make_app
from ledger.store.database import Connection


@pytest.fixture
def start(
    dsn: str, standin: StandIn, aiohttp_client: Callable[..., Awaitable[Client]]
) -> Start:
    """Start the application, with Twilio's place taken by the stand-in."""

    async def started(**more: str) -> Client:
        given = sending_settings(standin, **more)
        return await aiohttp_client(await make_app(dsn, settings_for(dsn, **given)))

    return started


@pytest.fixture
async def shop(start: Start) -> Client:
    """The application, with a person who is in for ``SENDER``."""
    client = await start()
    await text(client, "START")
    return client


async def test_a_text_goes_to_whoever_is_in(
    shop: Client, account: Account, connection: Connection
) -> None:
    """Recorded before and after; Twilio is told where to report what becomes of it."""
    response = await post(shop)
    assert response.status == 201
    shown = await response.json()
    [message] = sent(account)
    assert shown["sid"] == message["sid"]
    assert (shown["to"], shown["from"], shown["status"]) == (NUMBER, SENDER, "queued")
    assert response.headers["Ledger-Position"] == str(shown["position"])
    assert (message["to"], message["body"]) == (NUMBER, "Hello")
    assert await kinds(connection) == ["MessageRequested", "MessageSent"]


async def test_each_field_reaches_twilio(shop: Client, standin: StandIn) -> None:
    """A template, a service and a time; the callback names the text."""
    await record(shop, {"status": "in", "sender": SERVICE})
    response = await post(
        shop,
        body=None,
        contentSid=TEMPLATE,
        contentVariables={"2": "b", "1": "a"},
        messagingServiceSid=SERVICE,
        sendAt=LATER,
    )
    shown = await response.json()
    assert (response.status, shown["status"]) == (201, "scheduled")
    assert shown["sendAt"] == LATER
    form = standin.received[-1].form
    assert form["ContentVariables"] == ['{"1":"a","2":"b"}']
    assert form["ContentSid"] == [TEMPLATE]
    assert form["MessagingServiceSid"] == [SERVICE]
    assert form["SendAt"] == [LATER]
    [callback] = form["StatusCallback"]
    assert callback.endswith(f"/twilio/message-status?message={shown['id']}")


async def test_nothing_goes_to_whoever_is_out(
    shop: Client, account: Account, connection: Connection
) -> None:
    """409 names the event that decides; a STOP to another sender counts too."""
    await text(shop, "STOP")
    response = await post(shop)
    problem = await response.json()
    assert (response.status, problem["code"]) == (409, "not_allowed")
    assert problem["decidedBy"]["status"] == "out"
    assert problem["decidedBy"]["matchedBy"] == "keyword"
    assert NUMBER not in str(problem)
    other = await post(shop, **{"from": "+14155550188"})
    assert (other.status, await kinds(connection)) == (409, [])
    assert sent(account) == []


async def test_nothing_goes_to_whoever_has_said_nothing(
    start: Start, account: Account
) -> None:
    """But where that is set; and never to whoever is out, set or not."""
    client = await start()
    refused = await post(client)
    problem = await refused.json()
    assert (refused.status, problem["code"]) == (409, "not_allowed")
    assert "decidedBy" not in problem
    bold = await start(LEDGER_SEND_TO_UNKNOWN="true")
    assert (await post(bold)).status == 201
    await text(bold, "STOP")
    assert (await post(bold)).status == 409
    assert len(sent(account)) == 1


async def test_whoever_was_erased_while_out_gets_nothing(
    start: Start, account: Account
) -> None:
    """The duty not to text outlives the person's data."""
    client = await start(LEDGER_SEND_TO_UNKNOWN="true")
    await text(client, "STOP")
    where = f"/PhoneNumbers/{NUMBER}?reason=asked"
    assert (await client.delete(where, headers=bearer())).status == 200
    response = await post(client)
    assert (response.status, sent(account)) == (409, [])
    assert "decidedBy" not in await response.json()


async def test_a_key_of_somebody_who_was_erased_is_used_up(
    start: Start, account: Account
) -> None:
    """It is not known any more what it asked for; nothing is sent."""
    client = await start(LEDGER_SEND_TO_UNKNOWN="true")
    await record(client)
    assert (await post(client, "order-1")).status == 201
    where = f"/PhoneNumbers/{NUMBER}?reason=asked"
    assert (await client.delete(where, headers=bearer())).status == 200
    response = await post(client, "order-1")
    assert (await response.json())["code"] == "idempotency_key_reused"
    assert len(sent(account)) == 1


async def test_the_same_key_is_the_same_text(
    shop: Client, account: Account, connection: Connection
) -> None:
    """One after the other, all at once, and after a STOP: one text, one answer."""
    first = await post(shop, "order-1")
    again = await post(shop, "order-1")
    assert (first.status, again.status) == (201, 200)
    assert await first.json() == await again.json()
    answers = await asyncio.gather(*(post(shop, "order-2") for _ in range(8)))
    assert {answer.status for answer in answers} <= {200, 201, 202}
    assert [answer.status for answer in answers].count(201) == 1
    assert len({(await answer.json())["id"] for answer in answers}) == 1
    await text(shop, "STOP")
    assert (await post(shop, "order-1")).status == 200
    assert len(sent(account)) == 2
    assert (await kinds(connection)).count("MessageRequested") == 2


@pytest.mark.parametrize(
    "other", [{"body": "Bye"}, {"to": "+14155550101"}, {"from": "+14155550198"}]
)
async def test_a_key_is_for_one_text(
    start: Start, account: Account, other: dict[str, str]
) -> None:
    """Another text under it is refused, and not sent."""
    client = await start(LEDGER_SEND_TO_UNKNOWN="true")
    assert (await post(client, "order-1")).status == 201
    response = await post(client, "order-1", **other)
    assert (await response.json())["code"] == "idempotency_key_reused"
    assert (response.status, len(sent(account))) == (422, 1)


@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize(
    "fault", [faults.down, faults.gateway, faults.slow, faults.cut, faults.gone]
)
async def test_what_twilio_does_not_say_is_left_open(
    shop: Client, standin: StandIn, account: Account, fault: Fault, *, done: bool
) -> None:
    """202, ``requested``, and a repeat of the call sends nothing."""
    standin.fail(fault, done=done)
    response = await post(shop, "order-1")
    assert response.status == 202
    assert (await response.json())["status"] == "requested"
    again = await post(shop, "order-1")
    assert (again.status, await again.json()) == (202, await response.json())
    assert len(standin.received) == 1
    assert len(sent(account)) == int(done)


async def test_what_is_open_is_listed_and_a_callback_settles_it(
    shop: Client, standin: StandIn, account: Account, catch_up: CatchUp
) -> None:
    """Twilio's report names the text by its own URL, before anybody knows the SID."""
    standin.fail(faults.gone, done=True)
    shown = await (await post(shop, "order-1")).json()
    await catch_up()

    async def listed(query: str) -> list[str]:
        answer = await shop.get(f"/Messages?{query}", headers=bearer())
        return [each["id"] for each in await answer.json()]

    assert await listed("status=requested") == [shown["id"]]
    assert await listed("status=scheduled") == []
    for wrong in ("status=sent", "status=requested&direction=incoming"):
        answer = await shop.get(f"/Messages?{wrong}", headers=bearer())
        assert answer.status == 400
    [message] = sent(account)
    form = text_form("", MessageSid=message["sid"], MessageStatus="delivered")
    form |= {"To": NUMBER, "From": SENDER}
    path = f"/twilio/message-status?message={shown['id']}"
    reported = await shop.post(path, data=form, headers=signed(form, path=path))
    assert reported.status == 204
    again = await post(shop, "order-1")
    told = await again.json()
    assert (again.status, told["status"]) == (200, "delivered")
    assert told["sid"] == message["sid"]
    await catch_up()
    assert await listed("status=requested") == []


async def test_what_twilio_refuses_has_failed(
    shop: Client, standin: StandIn, connection: Connection
) -> None:
    """502 with Twilio's code, as often as it is asked for; and it is recorded."""
    standin.fail(faults.refused)
    for _ in range(2):
        response = await post(shop, "order-1")
        problem = await response.json()
        assert (response.status, problem["code"]) == (502, "message_failed")
        assert "21211" in problem["detail"]
    assert len(standin.received) == 1
    assert await kinds(connection) == ["MessageRequested", "MessageStatusChanged"]


async def test_a_storm_of_429_is_not_waited_for_longer_than_a_send_may_take(
    start: Start, standin: StandIn, connection: Connection
) -> None:
    """Twilio has not processed it, and asks for more patience than there is: 502."""
    client = await start(LEDGER_SEND_SECONDS_MAX="1.5")
    await text(client, "START")
    standin.fail(faults.busy, times=4)
    for _ in range(2):
        response = await post(client, "order-1")
        problem = await response.json()
        assert (response.status, problem["code"]) == (502, "message_failed")
        assert "20429" in problem["detail"]
    assert len(standin.received) == 1
    assert await kinds(connection) == ["MessageRequested", "MessageStatusChanged"]


async def test_where_nobody_listens_the_text_has_failed(
    start: Start, connection: Connection
) -> None:
    """It was never sent, so that it need not be asked about."""
    nowhere = "http://127.0.0.1:1"
    seconds = {"LEDGER_SEND_SECONDS_MAX": "60"}
    client = await start(LEDGER_TWILIO_API_URL=nowhere, **seconds)
    await text(client, "START")
    response = await post(client)
    assert (await response.json())["code"] == "message_failed"
    assert await kinds(connection) == ["MessageRequested", "MessageStatusChanged"]


async def test_a_block_of_twilios_becomes_an_opt_out(
    shop: Client, account: Account, connection: Connection
) -> None:
    """21610 at send: the person is out for that sender from then on, with evidence."""
    block(account, NUMBER, SENDER)
    response = await post(shop, "order-1")
    problem = await response.json()
    assert (response.status, problem["code"]) == (409, "not_allowed")
    assert problem["decidedBy"]["matchedBy"] == "error21610"
    assert problem["decidedBy"]["source"] == "twilio.status"
    again = await post(shop, "order-1")
    assert (again.status, await again.json()) == (409, problem)
    assert await kinds(connection) == ["MessageRequested", "MessageStatusChanged"]


@pytest.mark.parametrize(
    ("wish", "code"),
    [
        ({"to": "4155550100"}, "invalid_message"),
        ({"body": ""}, "invalid_message"),
        ({"body": None}, "invalid_message"),
        ({"contentSid": TEMPLATE}, "invalid_message"),
        ({"contentVariables": {}}, "invalid_message"),
        ({"from": SENDER, "messagingServiceSid": SERVICE}, "invalid_message"),
        ({"from": NUMBER}, "invalid_message"),
        ({"messagingServiceSid": "MG1"}, "invalid_message"),
        ({"sendAt": LATER}, "invalid_message"),
        ({"sendAt": "tomorrow", "messagingServiceSid": SERVICE}, "invalid_message"),
        ({"mediaUrl": "https://a.example"}, "invalid_message"),
    ],
)
async def test_a_wish_that_cannot_be_is_refused(
    shop: Client, connection: Connection, wish: dict[str, Any], code: str
) -> None:
    """Nothing is recorded, and Twilio not asked."""
    response = await post(shop, **wish)
    assert (response.status, (await response.json())["code"]) == (422, code)
    assert await kinds(connection) == []


async def test_a_sender_is_needed(start: Start) -> None:
    """Named in the call, or set."""
    client = await start(LEDGER_SENDER="", LEDGER_SEND_TO_UNKNOWN="true")
    assert (await post(client)).status == 422
    assert (await post(client, **{"from": SENDER})).status == 201


async def test_more_than_can_be_sent_is_refused(
    start: Start, standin: StandIn, connection: Connection
) -> None:
    """503, and nothing is recorded of it; the next is sent once there is room."""
    client = await start(LEDGER_SENDS_MAX="1", LEDGER_SEND_TO_UNKNOWN="true")
    standin.fail(faults.slow)
    answers = await asyncio.gather(*(post(client) for _ in range(3)))
    assert sorted(answer.status for answer in answers) == [202, 503, 503]
    assert await kinds(connection) == ["MessageRequested"]
    assert (await post(client)).status == 201


async def test_a_stop_that_comes_first_wins(
    start: Start, account: Account, connection: Connection
) -> None:
    """Two processes: whatever is recorded before the request decides, at any pace."""
    one, other = await start(), await start()
    for number in range(10):
        await text(one, "START")
        answer, _ = await asyncio.gather(
            post(other, f"order-{number}"), text(one, "STOP")
        )
        rows = await connection.fetch(
            """
            SELECT split_part(topic, ':', 2) AS kind FROM ledger_events
            WHERE topic LIKE '%:ConsentChanged' OR topic LIKE '%:MessageRequested'
            ORDER BY notification_id DESC LIMIT 2
            """
        )
        newest = [row["kind"] for row in rows]
        # A request is there only where the STOP came after it.
        assert (answer.status == 201) == ("MessageRequested" in newest)
        assert newest[0] == "ConsentChanged"
    requests = (await kinds(connection)).count("MessageRequested")
    assert len(sent(account)) == requests
