"""Answers to texts: one confirmation, a handler's reply, and never a lost text."""

from collections.abc import Awaitable, Callable, Iterator
from typing import Final

import on_message_handlers
import psycopg
import pytest
from builders import NUMBER, PATH, PUBLIC_URL, SENDER, signed, text_form
from conftest import Client, settings_for
from on_message_handlers import received

from ledger.app import make_app
from ledger.store.database import Connection
from ledger.webhook.on_message import InboundMessage

EMPTY: Final = '<?xml version="1.0" encoding="UTF-8"?><Response/>'
SHORT_CODE: Final = "71234"
REPLIES: Final = {
    "LEDGER_REPLY_TO_STOP": "You are out.",
    "LEDGER_REPLY_TO_START": "You are in.",
    "LEDGER_REPLY_TO_HELP": "We are Shop & Co.",
}

Start = Callable[..., Awaitable[Client]]


@pytest.fixture(autouse=True)
def released() -> Iterator[None]:
    """No handler of one test is seen by another."""
    received.clear()
    on_message_handlers.release.clear()
    yield
    on_message_handlers.release.set()


@pytest.fixture
def start(dsn: str, aiohttp_client: Callable[..., Awaitable[Client]]) -> Start:
    """Start the application with settings."""

    async def started(**more: str) -> Client:
        return await aiohttp_client(await make_app(dsn, settings_for(dsn, **more)))

    return started


async def answer(client: Client, body: str, **more: str) -> str:
    """What Twilio is told to text, or an empty string."""
    form = text_form(body, **more)
    response = await client.post(PATH, data=form, headers=signed(form))
    assert response.status == 200
    assert response.content_type == "text/xml"
    text = await response.text()
    if text == EMPTY:
        return ""
    callback = f"{PUBLIC_URL}/twilio/message-status"
    head = f'<Response><Message statusCallback="{callback}">'
    assert head in text
    return text.partition(head)[2].removesuffix("</Message></Response>")


async def count(connection: Connection) -> int:
    """How many events there are."""
    return int(await connection.fetchval("SELECT count(*) FROM ledger_events"))


async def test_a_standalone_short_code_confirms_each_change_once(start: Start) -> None:
    """A second STOP gets no second answer, and a HELP of somebody out gets none."""
    client = await start(**REPLIES)
    said = [
        ("STOP", "You are out."),
        ("STOP", ""),
        ("HELP", ""),
        ("stop texting me", ""),
        ("START", "You are in."),
        ("START", ""),
        ("HELP", "We are Shop &amp; Co."),
        ("How much is it?", ""),
        ("stop texting me", ""),
        ("START", "You are in."),
    ]
    for body, expected in said:
        assert await answer(client, body, To=SHORT_CODE) == expected, body


async def test_a_text_that_twilio_sends_again_is_answered_as_before(
    start: Start, connection: Connection
) -> None:
    """Its first answer was lost, or Twilio would not ask again."""
    client = await start(**REPLIES)
    stop = text_form("STOP", To=SHORT_CODE)
    for _ in range(2):
        response = await client.post(PATH, data=stop, headers=signed(stop))
        assert "You are out." in await response.text()
    assert await count(connection) == 1


async def test_nobody_is_answered_twice_where_twilio_answers(start: Start) -> None:
    """A number, a service, Advanced Opt-Out: Twilio has answered the keyword."""
    everything = {"LEDGER_REPLY_TO_FREE_TEXT": "true"}
    client = await start(**REPLIES, **everything)
    service = f"MG{'5' * 32}"
    assert await answer(client, "STOP") == ""
    assert await answer(client, "STOP", From="+14155550102", To="+18005550199") == ""
    assert (
        await answer(client, "STOP", To=SHORT_CODE, MessagingServiceSid=service) == ""
    )
    quiet = {"From": "+14155550101", "To": SHORT_CODE, "OptOutType": "STOP"}
    assert await answer(client, "STOP", **quiet) == ""
    assert await answer(client, "please stop texting me", **quiet) == ""
    other = {"From": "+14155550103"}
    assert await answer(client, "please stop texting me", **other) == "You are out."
    assert await answer(client, "please stop texting me", **other) == ""


async def test_without_a_setting_nothing_is_answered(client: Client) -> None:
    """Off by default, on every sender."""
    for body in ("STOP", "HELP", "START", "please stop texting me"):
        assert await answer(client, body, To=SHORT_CODE) == ""


@pytest.mark.parametrize("name", ["echo", "echo_async"])
async def test_a_handler_gets_each_text_and_may_reply(start: Start, name: str) -> None:
    """As it was signed; what it replies is XML, whatever is in it."""
    client = await start(LEDGER_ON_MESSAGE=f"on_message_handlers:{name}")
    assert (
        await answer(client, "a < b", NumMedia="0") == "&lt;a &lt; b&gt; &amp; \ufffd"
    )
    [message] = received
    assert message.from_ == NUMBER
    assert message.to == SENDER
    assert message.body == "a < b"
    assert (message.meaning, message.channel, message.is_repeat) == (None, "sms", False)
    assert message.parameters["NumMedia"] == "0"
    assert message.sid.startswith("SM")
    assert (
        message.body
        not in repr(message.parameters)[:0] + repr(message).split("body")[0]
    )


async def test_a_handlers_reply_goes_to_nobody_who_is_out(start: Start) -> None:
    """It hears of a STOP, and of a START that Twilio answers; and nobody else does."""
    client = await start(LEDGER_ON_MESSAGE="on_message_handlers:echo")
    for body in ("STOP", "hello", "START", "HELP"):
        assert await answer(client, body) == "", body
    assert [m.meaning for m in received] == ["out", None, "in", "help"]
    assert await answer(client, "hello") != ""
    assert await answer(client, "hello", OptOutType="HELP") == ""
    assert await answer(client, "please stop texting me") == ""
    assert await answer(client, "hello") == ""
    assert await answer(client, "hello", From="+14155550107") != ""


async def test_a_handler_hears_that_a_text_is_a_repeat(start: Start) -> None:
    """So that what it does besides replying can be done once."""
    client = await start(LEDGER_ON_MESSAGE='{"*": "on_message_handlers:quiet"}')
    stop = text_form("STOP")
    for _ in range(2):
        await client.post(PATH, data=stop, headers=signed(stop))
    assert [m.is_repeat for m in received] == [False, True]


async def test_the_handlers_reply_comes_before_the_set_one(start: Start) -> None:
    """One message at most; a confirmation is the set one."""
    handler = {"LEDGER_ON_MESSAGE": "on_message_handlers:echo"}
    client = await start(**REPLIES, **handler)
    assert await answer(client, "STOP", To=SHORT_CODE) == "You are out."
    assert await answer(client, "START", To=SHORT_CODE) == "&lt;START&gt; &amp; \ufffd"


@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("failing", "failed"),
        ("leaving", "failed"),
        ("number", "failed"),
        ("long", "failed"),
        ("confused", "failed"),
        ("hanging", "late"),
        ("hanging_async", "late"),
    ],
)
async def test_no_handler_loses_a_text_or_its_200(
    start: Start, connection: Connection, name: str, outcome: str
) -> None:
    """Whatever it does: recorded, answered within the limit, and counted."""
    client = await start(
        LEDGER_ON_MESSAGE=f"on_message_handlers:{name}",
        LEDGER_ANSWER_SECONDS_MAX="0.2",
        LEDGER_ON_MESSAGE_CALLS_MAX="1",
    )
    before = await _counted(client, outcome)
    assert await answer(client, "START") == ""
    assert await count(connection) == 1
    assert await _counted(client, outcome) == before + 1
    if outcome == "late":
        busy = await _counted(client, "busy")
        assert await answer(client, "STOP") == ""
        assert await count(connection) == 2
        assert await _counted(client, "busy") == busy + 1


async def test_a_database_that_fails_after_the_text_is_durable_costs_the_reply(
    start: Start, dsn: str, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The 200 is for the text, which is there."""

    def breaking(_: InboundMessage) -> str:
        with psycopg.connect(dsn) as other:
            other.execute("ALTER TABLE subject_keys RENAME TO elsewhere")
        return "hello"

    monkeypatch.setattr(on_message_handlers, "echo", breaking)
    client = await start(LEDGER_ON_MESSAGE="on_message_handlers:echo")
    failed = await _counted(client, "failed")
    assert await answer(client, "START", To=SHORT_CODE) == ""
    assert await _counted(client, "failed") == failed + 1
    assert await count(connection) == 1


async def _counted(client: Client, outcome: str) -> float:
    text = await (await client.get("/metrics")).text()
    line = f'ledger_answers_total{{kind="handler",outcome="{outcome}"}} '
    return sum(
        float(found.removeprefix(line))
        for found in text.splitlines()
        if found.startswith(line)
    )
