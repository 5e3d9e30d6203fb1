"""Twilio's status callbacks: signed, in any order, once each, also of others' texts."""

import itertools
from collections.abc import Awaitable, Callable
from typing import Any, Final

import pytest
from builders import (
    ACCOUNT_SID,
    AUTH_TOKEN,
    NUMBER,
    SENDER,
    bearer,
    signal,
    signed,
)
from conftest import CatchUp, Client
from message_steps import a_wish, taken

from ledger.command_handler import CommandHandler
from ledger.domain.events import ConsentChanged, MessageStatusChanged
from ledger.domain.ids import MessageId, Position
from ledger.domain.messages import block_signal
from ledger.message_log import MessageLog
from ledger.store.keyring import Keyring
from ledger.store.postgres import PostgresEventStore
from ledger.webhook.status import parse_status

PATH: Final = "/twilio/message-status"
SID: Final = "SM" + "9" * 32
Report = Callable[..., Awaitable[int]]


@pytest.fixture
def log(
    handler: CommandHandler, store: PostgresEventStore, keyring: Keyring
) -> MessageLog:
    """The log of texts, of another process."""
    return MessageLog(handler, store, keyring)


@pytest.fixture
async def ours(log: MessageLog) -> MessageId:
    """A text that was asked for, and of which Twilio has said nothing yet."""
    await log.record(signal(status="in"))
    await log.record(a_wish())
    return await log.message_id("send:1")


def form_of(status: str, **more: str) -> dict[str, str]:
    """What Twilio posts."""
    return {
        "SmsSid": SID,
        "SmsStatus": status,
        "MessageStatus": status,
        "To": NUMBER,
        "MessageSid": SID,
        "AccountSid": ACCOUNT_SID,
        "From": SENDER,
        "ApiVersion": "2010-04-01",
        **more,
    }


@pytest.fixture
def report(client: Client) -> Report:
    """Posts a signed callback, of one of ours if that is given; the answer's status."""

    async def post(
        status: str, message_id: MessageId | None = None, **more: str
    ) -> int:
        path = f"{PATH}?message={message_id}" if message_id else PATH
        form = form_of(status, **more)
        headers = signed(form, path=path)
        answer = await client.post(path, data=form, headers=headers)
        assert await answer.read() == b"" or answer.status >= 400
        return answer.status

    return post


async def test_a_callback_may_come_before_the_send_returns(
    report: Report, log: MessageLog, ours: MessageId
) -> None:
    """It finds its text by our own URL, and later by the SID alone."""
    assert await report("delivered", ours) == 204
    await log.record(taken(sid=SID))
    assert await report("sent") == 204
    message = await log.read(ours)
    assert (message.status, message.version) == ("delivered", 4)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
async def test_the_furthest_wins_in_any_order(
    report: Report, log: MessageLog, order: tuple[int, ...]
) -> None:
    """And all are kept, each once, of a text that nobody here has sent."""
    told = ("sent", "undelivered", "queued")
    codes: tuple[dict[str, str], ...] = ({}, {"ErrorCode": "30005"}, {})
    for place in (*order, *order):
        assert await report(told[place], **codes[place]) == 204
    message_id = await log.find(ACCOUNT_SID, SID)
    assert message_id is not None
    message = await log.read(message_id)
    assert (message.status, message.error_code) == ("undelivered", 30005)
    assert message.version == 3


async def test_twilios_block_makes_the_number_out(
    report: Report, store: PostgresEventStore, keyring: Keyring, ours: MessageId
) -> None:
    """In the same transaction, once, and not as anybody's STOP."""
    for _ in range(2):
        assert await report("failed", ours, ErrorCode="21610") == 204
    *_, (at, said), (after, told) = await store.read_after(Position(0), 9)
    assert isinstance(said, ConsentChanged)
    assert isinstance(told, MessageStatusChanged)
    assert (at + 1, said.recorded_at) == (after, told.recorded_at)
    assert (said.status, said.sender, said.source, said.matched_by) == (
        "out",
        SENDER,
        "twilio.status",
        "error21610",
    )
    [opened] = await keyring.opened([said])
    assert opened.evidence is not None
    assert opened.evidence["ErrorCode"] == "21610"
    assert "no proof that the person has sent a STOP" in str(
        opened.evidence["statement"]
    )


@pytest.mark.parametrize(
    ("fields", "token", "status"),
    [
        ({}, "another token", 403),
        ({"AccountSid": "AC" + "0" * 32}, AUTH_TOKEN, 403),
        ({"MessageStatus": "", "SmsStatus": ""}, AUTH_TOKEN, 422),
        ({"MessageStatus": "no status!"}, AUTH_TOKEN, 422),
        ({"MessageSid": "", "SmsSid": ""}, AUTH_TOKEN, 422),
        ({"To": ""}, AUTH_TOKEN, 422),
        ({"From": "x" * 300}, AUTH_TOKEN, 422),
    ],
)
async def test_what_cannot_be_recorded_is_refused(
    client: Client,
    store: PostgresEventStore,
    fields: dict[str, str],
    token: str,
    status: int,
) -> None:
    """Without Twilio's signature, or without a text, a person or a status."""
    form = form_of("sent") | fields
    headers = signed(form, path=PATH, token=token)
    answer = await client.post(PATH, data=form, headers=headers)
    assert answer.status == status
    assert await store.last_position() == 0


@pytest.mark.parametrize(
    "named", ["nothing", "0", "6ba7b810-9dad-11d1-80b4-00c04fd430c8"]
)
async def test_a_url_that_names_none_of_ours_is_of_the_sid(
    client: Client, log: MessageLog, named: str
) -> None:
    """Whoever has set it."""
    path = f"{PATH}?message={named}"
    form = form_of("sent")
    answer = await client.post(path, data=form, headers=signed(form, path=path))
    assert answer.status == 204
    assert await log.find(ACCOUNT_SID, SID) is not None


async def test_a_status_that_we_do_not_know_is_kept(
    report: Report, log: MessageLog, ours: MessageId
) -> None:
    """Twilio may have another one tomorrow; it is no further than those we know."""
    assert await report("teleported", ours) == 204
    assert (await log.read(ours)).status == "requested"
    assert await report("queued", ours) == 204
    assert (await log.read(ours)).status == "queued"


async def test_the_log_shows_what_became_of_it(
    client: Client, report: Report, ours: MessageId, catch_up: CatchUp
) -> None:
    """By its id, whoever asks; its number is the counterparty."""
    assert await report("delivered", ours) == 204
    await catch_up()
    answer = await client.get(f"/Messages/{ours}", headers=bearer())
    shown: Any = await answer.json()
    assert (shown["status"], shown["to"], shown["sid"]) == ("delivered", NUMBER, None)
    assert shown["body"] == "Your order"


async def test_a_block_that_is_told_twice_of_a_text_counts_once(
    report: Report, log: MessageLog, store: PostgresEventStore, ours: MessageId
) -> None:
    """By two states, by Twilio's answer, in one batch: all are kept, one is an out.

    So what is told late does not undo a START that came after the first.
    """
    assert await report("failed", ours, ErrorCode="21610") == 204
    await log.record(signal(status="in"))
    assert await report("undelivered", ours, ErrorCode="21610") == 204
    block = block_signal(f"twilio:{ACCOUNT_SID}:{SID}", NUMBER, SENDER, {})
    await log.record(taken(sid=SID, status="failed", error_code=21610, signal=block))
    told = [event for _, event in await store.read_after(Position(0), 20)]
    said = [event.status for event in told if isinstance(event, ConsentChanged)]
    assert said == ["in", "out", "in"]
    assert (await log.read(ours)).version == 4
    other = await log.message_id("another")
    reports = [
        parse_status([*form_of(status, ErrorCode="21610").items()]).report(other)
        for status in ("failed", "undelivered")
    ]
    await log.record_all(reports)
    told = [event for _, event in await store.read_after(Position(0), 20)]
    assert sum(isinstance(event, ConsentChanged) for event in told) == len(said) + 1
