"""What sending has left open: settled by asking Twilio, and scheduled texts canceled.

Every step of sending fails before and after it persists; whatever happens, one text
goes out at most, and in the end the ledger says whether it did.
"""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Final
from uuid import UUID

import pytest
from aiohttp import ClientResponse
from api_steps import record, text
from builders import ACCOUNT_SID, NUMBER, SENDER, bearer, signed
from conftest import Client, Pauses, eventually, settings_for
from e2e.processes import command_line, environment_for
from sending_steps import (
    LATER,
    SERVICE,
    TEMPLATE,
    Start,
    kinds,
    post,
    post_scheduled,
    sending_settings,
)
from twilio_api import faults
from twilio_api.documents import Account
from twilio_api.faults import Fault
from twilio_api.messages import add_message, sent
from twilio_api.standin import StandIn
from wire import Wire

from ledger.app import make_app
from ledger.command_handler import CommandHandler
from ledger.domain.events import ConsentChanged
from ledger.domain.ids import MessageId, Position, SubjectId
from ledger.erasure import Erasures
from ledger.errors import StoreUnavailable, TwilioUnavailable
from ledger.sending.follower import Follower, Open
from ledger.sending.settling import Tools, settle
from ledger.sending.texts import read_texts
from ledger.sending.unscheduling import Unscheduling
from ledger.store.database import Connection, Pool
from ledger.store.keyring import Keyring
from ledger.store.postgres import PostgresEventStore
from ledger.twilio import messages
from ledger.twilio.account import open_account

NOTHING: Final = Open(unsettled=0, scheduled=0)

MakeFollower = Callable[[], Follower]


@pytest.fixture
def start(
    dsn: str, standin: StandIn, aiohttp_client: Callable[..., Awaitable[Client]]
) -> Start:
    """Start the application, with Twilio's place taken by the stand-in."""

    async def started(**more: str) -> Client:
        url = more.pop("DATABASE_URL", dsn)
        given = sending_settings(standin, **more)
        return await aiohttp_client(await make_app(url, settings_for(url, **given)))

    return started


@pytest.fixture
async def shop(start: Start) -> Client:
    """The application, with a person who is in for ``SENDER`` and ``SERVICE``."""
    client = await start()
    await text(client, "START")
    await record(client, {"status": "in", "sender": SERVICE})
    return client


@pytest.fixture
async def tools(  # noqa: PLR0913, PLR0917 - what settling works with
    dsn: str,
    standin: StandIn,
    store: PostgresEventStore,
    keyring: Keyring,
    handler: CommandHandler,
    pauses: Pauses,
) -> AsyncIterator[Tools]:
    """What settling works with."""
    settings = settings_for(dsn, **sending_settings(standin))
    async with open_account(settings, pause=pauses) as account:
        yield Tools(handler, store, keyring, account, send_seconds_max=30)


@pytest.fixture
def follower(pool: Pool, tools: Tools) -> MakeFollower:
    """Makes what settles, as each start of a process does."""
    return lambda: Follower(pool, tools, settle_seconds=3600)


async def status(client: Client, key: str) -> tuple[int, str]:
    """What a repeat of the call is answered."""
    response = await post(client, key)
    answer = await response.json()
    return response.status, answer.get("status") or answer["code"]


@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize(
    "fault", [faults.down, faults.slow, faults.cut, faults.gone, faults.empty_object]
)
async def test_what_twilio_did_not_say_is_found_out(  # noqa: PLR0913, PLR0917 - a table
    shop: Client,
    standin: StandIn,
    account: Account,
    connection: Connection,
    follower: MakeFollower,
    fault: Fault,
    *,
    done: bool,
) -> None:
    """Twilio has it, or it was not sent; and a repeat says which, and sends nothing."""
    standin.fail(fault, done=done)
    assert (await post(shop, "order-1")).status == 202
    outcomes = await follower().run_once(at_once=True)
    assert outcomes == ({"sent": 1} if done else {"not_sent": 1})
    expected = (200, "queued") if done else (502, 502)
    assert await status(shop, "order-1") == expected
    assert len(sent(account)) == int(done)
    posts = [each for each in standin.received if each.method == "POST"]
    assert len(posts) == 1
    last = "MessageSent" if done else "MessageStatusChanged"
    assert await kinds(connection) == ["MessageRequested", last]
    assert await follower().run_once(at_once=True) == {}


async def test_a_text_that_is_being_sent_is_let_alone(
    shop: Client, standin: StandIn, follower: MakeFollower
) -> None:
    """It is settled once nobody can be sending it still."""
    standin.fail(faults.gone)
    await post(shop, "order-1")
    follows = follower()
    asked = len(standin.received)
    assert await follows.run_once() == {}
    assert follows.open == Open(unsettled=1, scheduled=0)
    assert len(standin.received) == asked


async def test_where_it_cannot_be_told_nobody_says_so(
    shop: Client, standin: StandIn, account: Account, follower: MakeFollower
) -> None:
    """A template leaves no body to know it by: ``unknown`` is recorded."""
    standin.fail(faults.gone, done=True)
    response = await post(shop, "order-1", body=None, contentSid=TEMPLATE)
    assert response.status == 202
    assert await follower().run_once(at_once=True) == {"unknown": 1}
    again = await post(shop, "order-1", body=None, contentSid=TEMPLATE)
    assert (again.status, (await again.json())["status"]) == (200, "unknown")
    assert await follower().run_once(at_once=True) == {}
    assert len(sent(account)) == 1


async def test_another_applications_message_is_not_taken_for_ours(
    shop: Client, standin: StandIn, account: Account, follower: MakeFollower
) -> None:
    """One that the ledger knows, one of another day, one from another sender."""
    assert (await post(shop)).status == 201
    yesterday = format_datetime(datetime.now(UTC) - timedelta(days=1))
    add_message(account, body="Hello", date_created=yesterday)
    add_message(account, body="Hello", **{"from": "+14155550188"})
    standin.fail(faults.gone)
    assert (await post(shop, "order-1")).status == 202
    assert await follower().run_once(at_once=True) == {"not_sent": 1}


@pytest.mark.parametrize("first", [False, True])
async def test_of_two_the_one_that_was_not_sent_is_told(
    shop: Client,
    standin: StandIn,
    account: Account,
    follower: MakeFollower,
    *,
    first: bool,
) -> None:
    """To one number at one time: a message that says what the other says is its."""
    for key, done in (("one", first), ("other", not first)):
        standin.fail(faults.gone, done=done)
        assert (await post(shop, key, body=key)).status == 202
    assert await follower().run_once(at_once=True) == {"sent": 1, "not_sent": 1}
    [message] = sent(account)
    found = await (await post(shop, message["body"], body=message["body"])).json()
    assert (found["sid"], found["status"]) == (message["sid"], "queued")


async def test_who_has_too_many_messages_holds_nobody_back(
    shop: Client,
    standin: StandIn,
    account: Account,
    follower: MakeFollower,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is not among those that are looked through cannot be told."""
    monkeypatch.setattr(messages, "LISTED_MAX", 3)
    for _ in range(4):
        add_message(account, body="news", direction="outbound-reply")
    standin.fail(faults.gone)
    assert (await post(shop, "order-1")).status == 202
    await record(shop, {"status": "in", "sender": SENDER}, number="+14155550101")
    standin.fail(faults.gone, done=True)
    await post(shop, to="+14155550101")
    standin.fail(faults.gone, done=True)
    await post(shop, "order-2", body="Bye")
    outcomes = await follower().run_once(at_once=True)
    assert outcomes == {"unknown": 1, "sent": 2}
    assert await status(shop, "order-1") == (200, "unknown")


async def test_one_that_twilio_fails_for_holds_nobody_back(
    shop: Client, standin: StandIn, follower: MakeFollower
) -> None:
    """It stays open; where Twilio answers nothing at all, all wait."""
    for body in ("1", "2", "3"):
        standin.fail(faults.gone, done=True)
        await post(shop, body=body)
    follows = follower()
    for _ in range(2):
        standin.fail(faults.down, times=4)
        standin.fail(faults.none)
    assert await follows.run_once(at_once=True) == {"sent": 1}
    assert follows.open == Open(unsettled=2, scheduled=0)
    asked = len(standin.received)
    standin.fail(faults.down, times=16)
    with pytest.raises(TwilioUnavailable):
        await follows.run_once(at_once=True)
    assert len(standin.received) == asked + 8
    standin.mend()
    assert await follows.run_once(at_once=True) == {"sent": 2}
    assert follows.open == NOTHING


async def test_two_alike_are_both_found(
    shop: Client, standin: StandIn, account: Account, follower: MakeFollower
) -> None:
    """Each has its own of Twilio's messages."""
    standin.fail(faults.gone, times=2, done=True)
    for key in ("order-1", "order-2"):
        await post(shop, key)
    assert await follower().run_once(at_once=True) == {"sent": 2}
    sids = {
        (await (await post(shop, key)).json())["sid"] for key in ("order-1", "order-2")
    }
    assert sids == {message["sid"] for message in sent(account)}


async def test_two_processes_settle_once(
    shop: Client, standin: StandIn, connection: Connection, follower: MakeFollower
) -> None:
    """What is recorded counts once by the text and its state."""
    standin.fail(faults.gone, done=True)
    await post(shop)
    await asyncio.gather(*(follower().run_once(at_once=True) for _ in range(3)))
    assert await kinds(connection) == ["MessageRequested", "MessageSent"]


async def test_what_another_process_has_found_is_not_denied(
    shop: Client,
    standin: StandIn,
    connection: Connection,
    follower: MakeFollower,
    tools: Tools,
) -> None:
    """The message is taken then, and by this very text: it is not taken for absent."""
    standin.fail(faults.gone, done=True)
    shown = await (await post(shop)).json()
    message_id = MessageId(UUID(shown["id"]))
    texts = await read_texts(tools.store, tools.keyring, [message_id])
    assert await follower().run_once(at_once=True) == {"sent": 1}
    assert await settle(tools, texts[message_id], texts.values()) is None
    assert await kinds(connection) == ["MessageRequested", "MessageSent"]


async def test_what_was_told_by_the_sid_alone_is_told_of_ours(
    shop: Client,
    standin: StandIn,
    account: Account,
    follower: MakeFollower,
    store: PostgresEventStore,
) -> None:
    """By a callback that does not name the text, before it was known for ours.

    A block that was told so is one out, though Twilio's list has it too.
    """
    standin.fail(faults.gone, times=2, done=True)
    for body in ("one", "two"):
        assert (await post(shop, body, body=body)).status == 202
    one, two = sent(account)
    two |= {"status": "failed", "error_code": 21610}
    await report(shop, one["sid"], "sent")
    await report(shop, two["sid"], "failed", ErrorCode="21610")
    assert await follower().run_once(at_once=True) == {"sent": 2}
    found = await (await post(shop, "one", body="one")).json()
    assert (found["sid"], found["status"]) == (one["sid"], "sent")
    await report(shop, one["sid"], "delivered")
    assert (await (await post(shop, "one", body="one")).json())["status"] == "delivered"
    assert (await (await post(shop, "two", body="two")).json())["status"] == "failed"
    told = [event for _, event in await store.read_after(Position(0), 100)]
    said = [event.matched_by for event in told if isinstance(event, ConsentChanged)]
    assert said.count("error21610") == 1


async def report(client: Client, sid: str, status: str, **more: str) -> None:
    """A signed callback that names no text."""
    form = {"MessageSid": sid, "MessageStatus": status, "AccountSid": ACCOUNT_SID}
    form |= {"To": NUMBER, "From": SENDER} | more
    path = "/twilio/message-status"
    answer = await client.post(path, data=form, headers=signed(form, path=path))
    assert answer.status == 204


async def test_a_twilio_that_is_down_is_asked_later(
    shop: Client, standin: StandIn, connection: Connection, follower: MakeFollower
) -> None:
    """Nothing is recorded that is not known; it is still open after a restart."""
    standin.fail(faults.gone, done=True)
    await post(shop)
    standin.fail(faults.down, times=4)
    with pytest.raises(TwilioUnavailable):
        await follower().run_once(at_once=True)
    assert await kinds(connection) == ["MessageRequested"]
    assert await follower().run_once(at_once=True) == {"sent": 1}


async def test_a_wish_whose_answer_was_lost_is_sent_once(
    dsn: str, start: Start, account: Account, connection: Connection
) -> None:
    """The request was committed though the connection died; it is known for ours."""
    wire = Wire(dsn)
    await wire.open()
    try:
        more = {
            "DATABASE_URL": wire.dsn,
            "LEDGER_STATEMENT_TIMEOUT_SECONDS": "0.5",
            # A machine that is busy with other tests may need several tries.
            "LEDGER_APPEND_TIMEOUT_SECONDS": "10",
        }
        client = await start(LEDGER_SEND_TO_UNKNOWN="true", **more)
        assert (await post(client, "order-1")).status == 201
        wire.lose("answer", 1)
        assert (await post(client, "order-2")).status == 201
        wire.lose("request", 1)
        assert (await post(client, "order-3")).status == 201
    finally:
        await wire.close()
    assert len(sent(account)) == 3
    assert await kinds(connection) == ["MessageRequested", "MessageSent"] * 3


@pytest.mark.parametrize("when", ["", "DEFERRABLE INITIALLY DEFERRED"])
async def test_an_outcome_that_cannot_be_recorded_is_found_out(
    start: Start,
    account: Account,
    connection: Connection,
    follower: MakeFollower,
    when: str,
) -> None:
    """Twilio has it, the ledger could not say so: 503, and a repeat sends nothing."""
    more = {"LEDGER_APPEND_TIMEOUT_SECONDS": "0.2", "LEDGER_SEND_TO_UNKNOWN": "true"}
    client = await start(**more)
    await connection.execute(f"""
        CREATE FUNCTION fault() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            RAISE EXCEPTION 'made by a test' USING ERRCODE = '53100';
        END $$;
        CREATE CONSTRAINT TRIGGER fault AFTER INSERT ON ledger_events {when}
            FOR EACH ROW WHEN (NEW.topic LIKE '%:MessageSent')
            EXECUTE FUNCTION fault()""")
    assert (await post(client, "order-1")).status == 503
    assert await status(client, "order-1") == (202, "requested")
    with pytest.raises(StoreUnavailable):
        await follower().run_once(at_once=True)
    await connection.execute("DROP TRIGGER fault ON ledger_events")
    assert await follower().run_once(at_once=True) == {"sent": 1}
    assert await status(client, "order-1") == (200, "queued")
    assert len(sent(account)) == 1


async def test_a_stop_cancels_what_is_scheduled(
    shop: Client, account: Account, follower: MakeFollower
) -> None:
    """Of that number, to that sender; of nobody else."""
    theirs = await post_scheduled(shop)
    await record(shop, {"status": "in", "sender": SERVICE}, number="+14155550101")
    await post_scheduled(shop, to="+14155550101")
    follows = follower()
    assert await follows.run_once() == {}
    assert follows.open == Open(unsettled=0, scheduled=2)
    await text(shop, "STOP", MessagingServiceSid=SERVICE)
    assert await follows.run_once() == {"canceled": 1}
    assert follows.open == Open(unsettled=0, scheduled=1)
    states = {m["sid"]: m["status"] for m in sent(account)}
    assert states.pop(theirs["sid"]) == "canceled"
    assert list(states.values()) == ["scheduled"]


async def test_a_stop_before_a_crash_cancels_after_it(
    shop: Client, standin: StandIn, account: Account, follower: MakeFollower
) -> None:
    """Whoever starts next sees it, also where Twilio could not be asked."""
    await post_scheduled(shop)
    before = follower()
    await before.run_once()
    await text(shop, "STOP", MessagingServiceSid=SERVICE)
    standin.fail(faults.down)
    with pytest.raises(TwilioUnavailable):
        await before.run_once()
    standin.fail(faults.gone, done=True)
    with pytest.raises(TwilioUnavailable):
        await follower().run_once()
    assert await follower().run_once() == {"canceled": 1}
    assert [m["status"] for m in sent(account)] == ["canceled"]
    assert (await follower().run_once()) == {}


async def test_a_text_that_twilio_took_unheard_is_canceled_too(
    shop: Client, standin: StandIn, account: Account, follower: MakeFollower
) -> None:
    """First it is found, then canceled."""
    standin.fail(faults.gone, done=True)
    given = {"messagingServiceSid": SERVICE, "sendAt": "2099-01-31T12:00:00Z"}
    assert (await post(shop, **given)).status == 202
    await text(shop, "STOP", MessagingServiceSid=SERVICE)
    follows = follower()
    assert await follows.run_once(at_once=True) == {"sent": 1}
    assert await follows.run_once() == {"canceled": 1}
    assert [m["status"] for m in sent(account)] == ["canceled"]


async def test_a_text_that_is_gone_cannot_be_canceled(
    shop: Client, account: Account, follower: MakeFollower
) -> None:
    """What Twilio has sent is said to be sent."""
    await post_scheduled(shop)
    sent(account)[0]["status"] = "delivered"
    await text(shop, "STOP", MessagingServiceSid=SERVICE)
    follows = follower()
    assert await follows.run_once() == {"too_late": 1}
    assert follows.open == NOTHING


async def test_an_opt_in_after_a_stop_brings_nothing_back(
    shop: Client, account: Account, follower: MakeFollower
) -> None:
    """Also before anybody has looked; what is scheduled after it is not concerned."""
    await post_scheduled(shop)
    await text(shop, "STOP", MessagingServiceSid=SERVICE)
    await text(shop, "START", MessagingServiceSid=SERVICE)
    await post_scheduled(shop)
    follows = follower()
    assert await follows.run_once() == {"canceled": 1}
    assert [m["status"] for m in sent(account)] == ["canceled", "scheduled"]
    await text(shop, "START", MessagingServiceSid=SERVICE)
    await text(shop, "STOP")
    assert await follows.run_once() == {}
    assert follows.open == Open(unsettled=0, scheduled=1)


async def test_whoever_is_erased_is_not_asked_about(
    shop: Client, standin: StandIn, follower: MakeFollower
) -> None:
    """There is no number left to ask by, and nothing stays open for it."""
    standin.fail(faults.gone)
    await post(shop)
    where = f"/PhoneNumbers/{NUMBER}?reason=asked"
    assert (await shop.delete(where, headers=bearer())).status == 200
    follows = follower()
    assert await follows.run_once(at_once=True) == {}
    assert follows.open == NOTHING


async def test_the_checkpoint_never_passes_what_is_open(
    shop: Client, standin: StandIn, connection: Connection, follower: MakeFollower
) -> None:
    """A start reads from there; what is done with is not read again."""
    standin.fail(faults.gone)
    response = await post(shop)
    requested = (await response.json())["position"]
    await post(shop)
    read = "SELECT position FROM sending_checkpoint"
    await follower().run_once()
    assert await connection.fetchval(read) == requested - 1
    await follower().run_once(at_once=True)
    last = await connection.fetchval("SELECT position FROM ledger_position")
    assert await connection.fetchval(read) == last


async def test_wrong_credentials_leave_it_open(
    shop: Client, standin: StandIn, account: Account, follower: MakeFollower
) -> None:
    """Nothing is recorded, and the next is tried."""
    standin.fail(faults.gone, done=True)
    await post(shop)
    tokens, account.tokens = account.tokens, []
    follows = follower()
    assert await follows.run_once(at_once=True) == {}
    assert follows.open == Open(unsettled=1, scheduled=0)
    account.tokens = tokens
    assert await follows.run_once(at_once=True) == {"sent": 1}


async def test_a_timer_may_see_to_it(
    shop: Client, standin: StandIn, dsn: str, tmp_path: Path
) -> None:
    """``settle`` says what it has found, and by its exit code if anything is open."""
    standin.fail(faults.gone, done=True)
    await post(shop)
    await post_scheduled(shop)
    await text(shop, "STOP", MessagingServiceSid=SERVICE)
    environment = environment_for(tmp_path, 0) | sending_settings(standin)
    environment |= {"DATABASE_URL": dsn}

    async def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return await asyncio.to_thread(command_line, environment, *arguments)

    status = await run("status", "--json")
    assert json.loads(status.stdout)["messages_unsettled"] == 1
    early = await run("settle", "--json")
    assert early.returncode == 1
    found = json.loads(early.stdout)
    assert (found["canceled"], found["unsettled"], found["scheduled"]) == (1, 1, 0)
    late = await run("settle", "--at-once")
    assert (late.returncode, late.stderr) == (0, "")
    assert "1 were sent" in late.stdout


async def test_a_service_sees_to_it_by_itself(start: Start, account: Account) -> None:
    """Two processes, one of which settles; a STOP is enough."""
    both = [await start(LEDGER_SETTLE_IN_SERVE="true") for _ in range(2)]
    await record(both[0], {"status": "in", "sender": SERVICE})
    await post_scheduled(both[1])
    await text(both[1], "STOP", MessagingServiceSid=SERVICE)

    async def is_canceled() -> bool:
        return [m["status"] for m in sent(account)] == ["canceled"]

    await eventually(is_canceled)
    metrics = await (await both[0].get("/metrics")).text()
    assert 'ledger_settled_total{outcome="canceled"}' in metrics
    assert SENDER not in metrics


async def test_an_erasure_cancels_what_is_scheduled_before_it_erases(
    shop: Client, standin: StandIn, account: Account
) -> None:
    """Where Twilio cannot be asked nothing is erased: nobody could cancel any more."""
    await post_scheduled(shop)
    standin.fail(faults.slow)
    assert (await erase(shop)).status == 503
    assert [m["status"] for m in sent(account)] == ["scheduled"]
    assert (await erase(shop)).status == 200
    assert [m["status"] for m in sent(account)] == ["canceled"]


async def test_an_erasure_waits_until_it_is_known_whether_a_text_is_scheduled(
    shop: Client, standin: StandIn, account: Account, follower: MakeFollower
) -> None:
    """It has no SID to cancel by as long as Twilio has not said that it has it."""
    standin.fail(faults.gone, done=True)
    given = {"messagingServiceSid": SERVICE, "sendAt": LATER}
    assert (await post(shop, **given)).status == 202
    refused = await erase(shop)
    assert (refused.status, (await refused.json())["code"]) == (503, "try_again")
    await follower().run_once(at_once=True)
    assert (await erase(shop)).status == 200
    assert [m["status"] for m in sent(account)] == ["canceled"]


async def test_what_twilio_has_deleted_keeps_nobody_from_being_erased(
    shop: Client, account: Account
) -> None:
    """There is nothing that could be sent; and of what was sent nothing is asked."""
    await post_scheduled(shop)
    account.list_of("messages").clear()
    assert (await erase(shop)).status == 200


async def test_a_text_that_is_scheduled_during_an_erasure_is_canceled_too(  # noqa: PLR0913, PLR0917
    shop: Client,
    standin: StandIn,
    account: Account,
    pool: Pool,
    tools: Tools,
    dsn: str,
) -> None:
    """It was asked for after the look, and before the erasure: it is looked again."""
    settings = settings_for(dsn, **sending_settings(standin))
    parts = (tools.handler, tools.store, tools.keyring)
    unscheduling = Unscheduling(*parts, settings)
    looks = 0

    async def look_and_lose_the_race(subject_id: SubjectId) -> None:
        nonlocal looks
        looks += 1
        await unscheduling(subject_id)
        if looks == 1:
            await post_scheduled(shop)

    erasures = Erasures(pool, tools.store, tools.keyring, look_and_lose_the_race)
    await erasures.erase(NUMBER, reason="asked", actor="office")
    assert looks == 2
    assert [m["status"] for m in sent(account)] == ["canceled"]


async def erase(client: Client) -> ClientResponse:
    """Erase ``NUMBER``."""
    path = f"/PhoneNumbers/{NUMBER}?reason=asked"
    return await client.delete(path, headers=bearer())
