"""The real twilio package over our transport, against the stand-in.

Every fault between us and Twilio becomes one clear error; what may be repeated is, and
nothing else.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import pytest
from aiohttp import web
from builders import ACCOUNT_SID, AUTH_TOKEN, NUMBER
from conftest import Pauses, eventually
from twilio_api import faults
from twilio_api.__main__ import run
from twilio_api.documents import Account, error
from twilio_api.faults import Fault
from twilio_api.receivers import add_number, add_service
from twilio_api.standin import StandIn, settings_at

from ledger.errors import (
    ConfigurationError,
    InvalidRequest,
    LedgerError,
    TwilioBusy,
    TwilioForbidden,
    TwilioNotFound,
    TwilioRefused,
    TwilioTimeout,
    TwilioUnauthenticated,
    TwilioUnavailable,
    TwilioUnusableAnswer,
)
from ledger.settings import Settings
from ledger.twilio.account import TwilioAccount, open_account, records
from ledger.twilio.transport import ATTEMPTS_MAX, CALLS_MAX, Transport

SID: Final = f"PN{1:032x}"


@pytest.fixture
async def twilio(standin: StandIn, pauses: Pauses) -> AsyncIterator[TwilioAccount]:
    """Our account at the stand-in."""
    async with open_account(settings_at(standin), pause=pauses) as account:
        yield account


async def get(twilio: TwilioAccount) -> object:
    """A call that changes nothing."""
    return await twilio.standing()


async def post(twilio: TwilioAccount) -> object:
    """A call that changes something."""
    number = twilio.client.incoming_phone_numbers(SID)
    return await number.update_async(sms_url="https://a.example")


Call = Callable[[TwilioAccount], Awaitable[object]]


@pytest.mark.parametrize(
    ("fault", "expected", "gets", "posts"),
    [
        (faults.busy, TwilioBusy, ATTEMPTS_MAX, ATTEMPTS_MAX),
        (faults.busy_for_long, TwilioBusy, 1, 1),
        (faults.down, TwilioUnavailable, ATTEMPTS_MAX, 1),
        (faults.gateway, TwilioUnavailable, ATTEMPTS_MAX, 1),
        (faults.portal, TwilioUnusableAnswer, ATTEMPTS_MAX, 1),
        (faults.array, TwilioUnusableAnswer, ATTEMPTS_MAX, 1),
        (faults.cut, TwilioUnusableAnswer, ATTEMPTS_MAX, 1),
        (faults.gone, TwilioUnavailable, ATTEMPTS_MAX, 1),
        (faults.suspended, TwilioForbidden, 1, 1),
        (faults.refused, TwilioRefused, 1, 1),
        (faults.problem, TwilioRefused, 1, 1),
    ],
)
@pytest.mark.parametrize("call", [get, post])
async def test_a_fault_becomes_one_clear_error(  # noqa: PLR0913, PLR0917 - a table
    call: Call,
    fault: Fault,
    expected: type[LedgerError],
    gets: int,
    posts: int,
    twilio: TwilioAccount,
    standin: StandIn,
) -> None:
    """Its class says what happened; a change that may have been made is made once."""
    standin.fail(fault, times=2 * ATTEMPTS_MAX)
    with pytest.raises(expected) as caught:
        await call(twilio)
    assert type(caught.value) is expected
    if call is post:
        assert len(standin.received) == posts
    else:  # aiohttp by itself repeats a GET, once, where a connection was lost
        extra = gets if fault is faults.gone else 0
        assert gets <= len(standin.received) <= gets + extra
    if isinstance(caught.value, TwilioUnavailable):
        never = expected is TwilioBusy or call is get
        assert caught.value.may_be_done is not never
    assert NUMBER not in str(caught.value)
    assert AUTH_TOKEN not in str(caught.value)
    assert caught.value.title()


@pytest.mark.parametrize("call", [get, post])
async def test_an_answer_that_does_not_come_is_not_waited_for(
    call: Call, standin: StandIn, pauses: Pauses
) -> None:
    """The bound is the setting's, though the package has none."""
    settings = settings_at(standin, LEDGER_TWILIO_TIMEOUT_SECONDS="0.05")
    standin.fail(faults.slow, times=ATTEMPTS_MAX)
    async with open_account(settings, pause=pauses) as twilio:
        with pytest.raises(TwilioTimeout) as caught:
            await call(twilio)
    assert caught.value.may_be_done is (call is post)
    assert len(standin.received) == (ATTEMPTS_MAX if call is get else 1)


async def test_a_change_is_repeated_where_nobody_listens(pauses: Pauses) -> None:
    """What found no connection was never sent, so that it was not done."""
    async with StandIn() as standin:
        settings = settings_at(standin)
    async with open_account(settings, pause=pauses) as twilio:
        with pytest.raises(TwilioUnavailable) as caught:
            await post(twilio)
    assert not caught.value.may_be_done
    assert len(pauses.seconds) == ATTEMPTS_MAX - 1


@pytest.mark.parametrize("call", [get, post])
async def test_a_storm_of_429_is_weathered(
    call: Call,
    twilio: TwilioAccount,
    standin: StandIn,
    account: Account,
    pauses: Pauses,
) -> None:
    """Every wait is at least what Retry-After asks for, and longer each time."""
    account.list_of("incoming_phone_numbers")[SID] = {"sid": SID}
    standin.fail(faults.busy, times=ATTEMPTS_MAX - 1)
    await call(twilio)
    assert len(pauses.seconds) == ATTEMPTS_MAX - 1
    assert pauses.seconds[0] > 2
    assert pauses.seconds[0] < pauses.seconds[2] < 6


async def test_waits_grow_and_are_spread(standin: StandIn, pauses: Pauses) -> None:
    """Half of each wait is left to luck, so that those turned away come back apart."""
    luck = iter([0.0, 1.0, 0.5])
    standin.fail(faults.down, times=ATTEMPTS_MAX)
    async with Transport(
        account_sid=ACCOUNT_SID,
        tokens=[AUTH_TOKEN],
        api_url=standin.url,
        timeout_seconds=5,
        pause=pauses,
        jitter=lambda: next(luck),
    ) as transport:
        with pytest.raises(TwilioUnavailable):
            await transport.request("GET", "https://api.twilio.com/2010-04-01/x.json")
    assert pauses.seconds == [0.25, 1.0, 1.5]


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("Fri, 01 Jan 2100 00:00:00 GMT", 3600),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 1),
        ("soon", 1),
        ("-5", 1),
        ("9" * 400, 3600),
    ],
)
async def test_whatever_retry_after_is_there_is_a_wait(
    value: str, seconds: int, twilio: TwilioAccount, standin: StandIn
) -> None:
    """A date is understood as well as a number, and nonsense is a second."""

    async def busy(_: web.Request) -> web.Response:
        return error(429, 20429, **{"Retry-After": value})

    standin.fail(busy, times=ATTEMPTS_MAX)
    with pytest.raises(TwilioBusy) as caught:
        await twilio.standing()
    asked = caught.value.retry_after_seconds
    assert asked == seconds if seconds == 1 else asked > seconds


async def test_only_a_few_calls_are_under_way_at_once(
    twilio: TwilioAccount, standin: StandIn
) -> None:
    """Twilio answers 429 to an account that asks for too much at once."""
    full = asyncio.Barrier(CALLS_MAX)
    most = 0

    async def counted(_: web.Request) -> web.Response:
        nonlocal most
        most = max(most, full.n_waiting + 1)
        await full.wait()
        return web.json_response({"sid": ACCOUNT_SID})

    calls = 3 * CALLS_MAX
    standin.fail(counted, times=calls)
    await asyncio.gather(*(twilio.standing() for _ in range(calls)))
    assert most == CALLS_MAX


async def test_wrong_credentials_are_told_apart_from_a_wrong_account(
    standin: StandIn, account: Account
) -> None:
    """A token that is not the account's is one error, an account of others another."""
    wrong = settings_at(standin, TWILIO_AUTH_TOKEN="wrong")
    async with open_account(wrong) as twilio:
        with pytest.raises(TwilioUnauthenticated, match="20003") as caught:
            await twilio.standing()
    assert caught.value.status == 401
    async with open_account(settings_at(standin)) as twilio:
        twilio.client.account_sid = f"AC{'b' * 32}"
        with pytest.raises(TwilioNotFound, match="20404"):
            await twilio.client.incoming_phone_numbers(SID).fetch_async()
    assert account.status == "active"


async def test_a_token_that_is_no_longer_taken_is_passed_over_once(
    standin: StandIn,
) -> None:
    """While the token is rotated, calls go on with whichever Twilio takes."""
    settings = settings_at(standin, TWILIO_AUTH_TOKEN=f"old,{AUTH_TOKEN}")
    async with open_account(settings) as twilio:
        await twilio.standing()
        await twilio.standing()
    tokens = [received.token for received in standin.received]
    assert tokens == ["old", AUTH_TOKEN, AUTH_TOKEN]


async def test_every_host_of_twilios_is_redirected(
    twilio: TwilioAccount, standin: StandIn, account: Account
) -> None:
    """One setting stands for api., messaging. and accounts.twilio.com, pages too."""
    for _ in range(120):
        add_service(account)
    assert len(await twilio.services()) == 120
    await twilio.client.accounts.v1.bulk_consents.create_async(items=[{"a": 1}])
    paths = [received.path for received in standin.received]
    assert [path.partition("?")[0] for path in paths] == [
        "/v1/Services",
        "/v1/Services",
        "/v1/Consents/Bulk",
    ]
    assert standin.received[-1].form == {"Items": ['{"a": 1}']}


async def test_a_list_is_read_to_its_end(
    twilio: TwilioAccount, account: Account
) -> None:
    """Every page is followed, in the form of the API of 2010 too."""
    sids = {add_number(account, f"+1415555{i:04d}") for i in range(201)}
    assert {r.sid for r in await twilio.receivers()} == sids


async def test_a_list_that_leads_back_is_left() -> None:
    """A page whose next page is itself is an unusable answer, and no loop."""

    class Page:
        next_page_url = "https://api.twilio.com/again"

        def __iter__(self) -> Any:
            return iter(())

        async def next_page_async(self) -> "Page":
            return self

    async def page_async(**_: object) -> Page:
        return Page()

    with pytest.raises(TwilioUnusableAnswer, match="leads back"):
        async for _ in records(page_async):
            pass


async def test_a_link_to_a_foreign_host_is_not_followed(
    twilio: TwilioAccount, standin: StandIn
) -> None:
    """The credentials go to Twilio's hosts, or to what stands for them, only."""
    for url in ("https://twilio.com.example/x", "http://api.twilio.com/x", "//x"):
        with pytest.raises(TwilioUnusableAnswer, match="not Twilio's"):
            await twilio.client.request_async("GET", url)
    assert standin.received == []


@pytest.mark.parametrize("fault", [faults.empty_object, faults.portal])
async def test_a_page_that_is_none_is_an_unusable_answer(
    fault: Fault, twilio: TwilioAccount, standin: StandIn
) -> None:
    """What the package cannot read is not shown in its words."""
    standin.fail(fault, times=3 * ATTEMPTS_MAX)
    with pytest.raises(TwilioUnusableAnswer):
        await twilio.services()


async def test_nothing_is_logged(
    twilio: TwilioAccount, account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    """The package would log each URL, and with it the numbers in its query."""
    caplog.set_level(logging.DEBUG)
    add_number(account, NUMBER)
    await twilio.client.incoming_phone_numbers.list_async(phone_number=NUMBER)
    assert NUMBER not in caplog.text
    assert "14155550100" not in caplog.text
    assert AUTH_TOKEN not in caplog.text


async def test_a_number_in_a_path_is_not_shown(twilio: TwilioAccount) -> None:
    """An error names a resource, and not the number that is part of its path."""
    with pytest.raises(TwilioNotFound) as caught:
        await twilio.client.lookups.v2.phone_numbers(NUMBER).fetch_async()
    assert "/v2/PhoneNumbers/…" in str(caught.value)
    assert "5550100" not in str(caught.value)


async def test_the_environment_does_not_change_the_host(
    standin: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TWILIO_REGION and TWILIO_EDGE, which the package reads, are no settings here."""
    monkeypatch.setenv("TWILIO_REGION", "ie1")
    monkeypatch.setenv("TWILIO_EDGE", "dublin")
    async with open_account(settings_at(standin)) as twilio:
        assert (await twilio.standing()).status == "active"


async def test_every_connection_is_closed(standin: StandIn) -> None:
    """The package's client leaves its session open; warnings are errors here."""
    async with open_account(settings_at(standin)) as twilio:
        await asyncio.gather(*(twilio.standing() for _ in range(5)))
    with pytest.raises(RuntimeError, match="closed"):
        await twilio.standing()


async def test_an_account_without_a_token_is_refused(standin: StandIn) -> None:
    """It says which setting is missing; what is no SID never becomes part of a path."""
    with pytest.raises(ConfigurationError, match="LEDGER_TWILIO_SUBACCOUNTS"):
        async with open_account(settings_at(standin), f"AC{'c' * 32}"):
            pass
    with pytest.raises(InvalidRequest):
        async with open_account(settings_at(standin), "AC/../x"):
            pass
    with pytest.raises(ConfigurationError, match="TWILIO_ACCOUNT_SID"):
        async with open_account(Settings.from_mapping({})):
            pass


async def test_the_stand_in_can_be_started_by_hand(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It prints the settings with which the service reaches it."""
    running = asyncio.create_task(run(0))
    shown = ""

    async def has_printed() -> bool:
        nonlocal shown
        shown += capsys.readouterr().out
        return "twilio connect --service" in shown

    await eventually(has_printed)
    lines = [line.removeprefix("export ") for line in shown.splitlines()]
    given = dict(line.split("=", 1) for line in lines if "=" in line)
    async with open_account(Settings.from_mapping(given)) as twilio:
        assert len(await twilio.receivers()) == 4
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
