"""Sending by the real twilio package, against the stand-in."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from builders import NUMBER, SENDER
from conftest import Pauses
from twilio_api import faults
from twilio_api.documents import Account
from twilio_api.faults import Fault
from twilio_api.messages import add_message, block, sent
from twilio_api.standin import StandIn, settings_at

from ledger.errors import (
    InvalidRequest,
    TwilioBusy,
    TwilioNotFound,
    TwilioRefused,
    TwilioUnavailable,
    TwilioUnusableAnswer,
)
from ledger.twilio import messages
from ledger.twilio.account import TwilioAccount, open_account
from ledger.twilio.messages import OutgoingText
from ledger.twilio.transport import ATTEMPTS_MAX

SERVICE: Final = f"MG{'5' * 32}"
TOMORROW: Final = datetime.now(UTC) + timedelta(days=1)
LONG_AGO: Final = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
async def twilio(standin: StandIn, pauses: Pauses) -> AsyncIterator[TwilioAccount]:
    """Our account at the stand-in."""
    async with open_account(
        settings_at(standin, LEDGER_TWILIO_TIMEOUT_SECONDS="0.2"), pause=pauses
    ) as account:
        yield account


def text(**more: Any) -> OutgoingText:
    """A text to ``NUMBER`` from ``SENDER``."""
    return OutgoingText(**{"to": NUMBER, "sender": SENDER, "body": "Hello"} | more)


async def test_a_text_is_posted_as_twilio_documents(
    twilio: TwilioAccount, standin: StandIn
) -> None:
    """Each field has the name that Twilio gives it, and none is there unasked."""
    plain = await messages.send(twilio, text(status_callback="https://a.example/s"))
    later = await messages.send(twilio, text(sender=SERVICE, send_at=TOMORROW))
    template = text(body=None, content_sid="HX1", content_variables='{"1":"Ann"}')
    await messages.send(twilio, template)
    first, second, third = (request.form for request in standin.received)
    assert first == {
        "To": [NUMBER],
        "From": [SENDER],
        "Body": ["Hello"],
        "StatusCallback": ["https://a.example/s"],
    }
    assert second["MessagingServiceSid"] == [SERVICE]
    assert second["ScheduleType"] == ["fixed"]
    assert second["SendAt"] == [TOMORROW.strftime("%Y-%m-%dT%H:%M:%SZ")]
    assert third.keys() == {"To", "From", "ContentSid", "ContentVariables"}
    assert (plain.status, later.status) == ("queued", "scheduled")


@pytest.mark.parametrize(
    ("fault", "done", "posts"),
    [
        (faults.down, False, 1),
        (faults.down, True, 1),
        (faults.gateway, True, 1),
        (faults.slow, True, 1),
        (faults.slow, False, 1),
        (faults.cut, True, 1),
        (faults.gone, True, 1),
        (faults.portal, True, 1),
        (faults.empty_object, True, 1),
    ],
)
async def test_what_may_have_been_sent_is_never_posted_again(  # noqa: PLR0913, PLR0917
    fault: Fault,
    done: bool,  # noqa: FBT001
    posts: int,
    twilio: TwilioAccount,
    standin: StandIn,
    account: Account,
) -> None:
    """One POST goes out, and the error says that nobody knows."""
    standin.fail(fault, done=done)
    with pytest.raises(TwilioUnavailable) as caught:
        await messages.send(twilio, text())
    assert caught.value.may_be_done
    assert len(standin.received) == posts
    assert len(sent(account)) == int(done)


async def test_a_storm_of_429_sends_once_or_not_at_all(
    twilio: TwilioAccount, standin: StandIn, account: Account, pauses: Pauses
) -> None:
    """Twilio did not process what it answered 429; the tries have an end."""
    standin.fail(faults.busy, times=ATTEMPTS_MAX - 1)
    await messages.send(twilio, text())
    assert len(sent(account)) == 1
    assert len(pauses.seconds) == ATTEMPTS_MAX - 1
    standin.fail(faults.busy, times=ATTEMPTS_MAX)
    with pytest.raises(TwilioBusy) as caught:
        await messages.send(twilio, text())
    assert not caught.value.may_be_done
    assert len(sent(account)) == 1


async def test_a_refusal_says_which(twilio: TwilioAccount, account: Account) -> None:
    """Twilio's code comes along, and no number does."""
    block(account, NUMBER, SENDER)
    with pytest.raises(TwilioRefused) as caught:
        await messages.send(twilio, text())
    assert (caught.value.status, caught.value.twilio_code) == (400, 21610)
    with pytest.raises(TwilioRefused) as invalid:
        await messages.send(twilio, text(to="somebody"))
    assert invalid.value.twilio_code == 21211
    assert NUMBER not in str(caught.value)
    assert "somebody" not in str(invalid.value)


async def test_messages_to_a_number_are_listed(
    twilio: TwilioAccount, account: Account
) -> None:
    """All pages of that number, the scheduled too, and none from before."""
    old = "Wed, 01 Jan 2025 00:00:00 +0000"
    add_message(account, date_created=old)
    add_message(account, to="+14155550101")
    for number in range(150):
        add_message(account, body=str(number), status="scheduled")
    since = datetime.now(UTC) - timedelta(hours=1)
    found, is_whole = await messages.messages_to(twilio, NUMBER, since)
    assert [m.body for m in found] == [str(n) for n in reversed(range(150))]
    assert is_whole
    assert len((await messages.messages_to(twilio, NUMBER, LONG_AGO)).messages) == 151


async def test_a_list_without_end_is_read_in_part(
    twilio: TwilioAccount, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And said to be in part: it does not say that a message is not there."""
    monkeypatch.setattr(messages, "LISTED_MAX", 3)
    for count, is_whole in ((3, True), (4, False)):
        while len(sent(account)) < count:
            add_message(account)
        found = await messages.messages_to(twilio, NUMBER, LONG_AGO)
        assert (len(found.messages), found.is_whole) == (3, is_whole)


async def test_a_scheduled_message_is_canceled_once(
    twilio: TwilioAccount, account: Account
) -> None:
    """Again, and where it is too late, the answer is what the message is now."""
    scheduled = await messages.send(twilio, text(sender=SERVICE, send_at=TOMORROW))
    assert (await messages.cancel(twilio, scheduled.sid)).status == "canceled"
    assert (await messages.cancel(twilio, scheduled.sid)).status == "canceled"
    late = add_message(account, status="delivered")
    assert (await messages.cancel(twilio, late["sid"])).status == "delivered"
    assert (await messages.fetch(twilio, late["sid"])).status == "delivered"


async def test_what_is_no_message_is_said_to_be_none(
    twilio: TwilioAccount, account: Account
) -> None:
    """A wrong SID never reaches a path, an unknown one is not found."""
    with pytest.raises(InvalidRequest):
        await messages.fetch(twilio, "SM../Accounts")
    with pytest.raises(TwilioNotFound):
        await messages.cancel(twilio, f"SM{'0' * 32}")
    odd = add_message(account, status=None)
    with pytest.raises(TwilioUnusableAnswer):
        await messages.fetch(twilio, odd["sid"])
