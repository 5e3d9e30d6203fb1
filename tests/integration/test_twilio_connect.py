"""``twilio connect`` against the stand-in: before, after, again, and every fault."""

import asyncio
import json
from dataclasses import replace
from functools import partial

import pytest
from builders import ACCOUNT_SID, AUTH_TOKEN, PUBLIC_URL
from conftest import Pauses
from twilio_api import faults
from twilio_api.documents import Account
from twilio_api.faults import Fault
from twilio_api.receivers import add_number, add_service, new_sid
from twilio_api.standin import StandIn, settings_at
from typer.testing import CliRunner, Result

from ledger.__main__ import app
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
from ledger.twilio import leaks
from ledger.twilio.account import open_account
from ledger.twilio.connect import Plan, addresses, apply, look
from ledger.twilio.receivers import Addresses
from ledger.twilio.transport import ATTEMPTS_MAX

HERE = f"{PUBLIC_URL}/optInStatus#rc=3&rp=all"
FALLBACK = f"{PUBLIC_URL}/twilio/incoming-message#rc=3&rp=all"
WANTED = Addresses(PUBLIC_URL)


async def connect(standin: StandIn, *arguments: str, **environment: str) -> Result:
    """What the command does, without a terminal."""
    given = {
        "LEDGER_TWILIO_API_URL": standin.url,
        "PUBLIC_URL": PUBLIC_URL,
        "TWILIO_ACCOUNT_SID": ACCOUNT_SID,
        "TWILIO_AUTH_TOKEN": AUTH_TOKEN,
        **environment,
    }
    command = ["twilio", "connect", *arguments]
    run = partial(CliRunner().invoke, app, command, env=given)
    return await asyncio.to_thread(run)


async def test_a_number_is_connected_once(standin: StandIn, account: Account) -> None:
    """It shows before and after; a second run posts nothing and says so."""
    sid = add_number(account, "+14155550199", sms_url="https://old.example/sms")
    shown = await connect(standin, "--number", sid, "--yes")
    assert "- sms_url: https://old.example/sms\n" in shown.output
    assert f"+ sms_url: {HERE}\n" in shown.output
    number = account.list_of("incoming_phone_numbers")[sid]
    assert (number["sms_url"], number["sms_fallback_url"]) == (HERE, FALLBACK)
    again = await connect(standin, "--number", sid)
    assert (again.exit_code, "nothing to change" in again.output) == (0, True)
    assert [r.method for r in standin.received].count("POST") == 1


async def test_a_service_is_connected_with_its_status_callback(
    standin: StandIn, account: Account
) -> None:
    """Its own URL counts from then on, for every number in it."""
    sid = add_service(account, use_inbound_webhook_on_number=True)
    callback = "https://sms.example.com/delivered"
    options = ("--yes", "--json", "--status-callback", callback)
    shown = await connect(standin, "--service", sid, *options)
    answer = json.loads(shown.output)
    assert answer["changed"]
    assert answer["after"] == {
        "inbound_request_url": HERE,
        "inbound_method": "POST",
        "fallback_url": FALLBACK,
        "fallback_method": "POST",
        "use_inbound_webhook_on_number": "false",
        "status_callback": callback,
    }
    assert answer["warnings"] == [leaks.ADVANCED_OPT_OUT.sentence]
    service = account.list_of("services")[sid]
    assert (service["inbound_request_url"], service["fallback_url"]) == (HERE, FALLBACK)
    assert service["use_inbound_webhook_on_number"] is False


async def test_a_dry_run_changes_nothing(standin: StandIn, account: Account) -> None:
    """It says what would change, and only asks."""
    sid = add_number(account, "+14155550199")
    shown = await connect(standin, "--number", sid, "--dry-run")
    assert (shown.exit_code, "2 fields would change" in shown.output) == (0, True)
    assert {r.method for r in standin.received} == {"GET"}


async def test_a_number_in_a_service_is_warned_of(
    standin: StandIn, account: Account
) -> None:
    """Its own URL is not called, so that connecting it alone does not help."""
    sid = add_number(account, "+18005550199")
    service = add_service(account, sid)
    shown = await connect(standin, "--number", sid, "--dry-run")
    assert f"twilio connect --service {service}" in shown.output
    assert leaks.TOLL_FREE.sentence in shown.output


async def test_what_cannot_be_meant_is_refused(
    standin: StandIn, account: Account
) -> None:
    """Wrong usage is told before Twilio is asked, and no answer to a question is no."""
    sid = add_number(account, "+14155550199")
    wrong = {
        (): InvalidRequest,
        ("--number", sid, "--service", new_sid("MG")): InvalidRequest,
        ("--number", "+14155550199"): InvalidRequest,
        ("--number", sid, "--status-callback", "https://a.example"): InvalidRequest,
        ("--number", sid, "--account", f"AC{'d' * 32}"): ConfigurationError,
    }
    for arguments, expected in wrong.items():
        shown = await connect(standin, *arguments)
        assert isinstance(shown.exception, expected), arguments
    assert standin.received == []
    nowhere = await connect(standin, "--number", sid, "--yes", PUBLIC_URL="")
    assert isinstance(nowhere.exception, ConfigurationError)
    unasked = await connect(standin, "--number", sid)
    assert isinstance(unasked.exception, InvalidRequest)
    assert {r.method for r in standin.received} == {"GET"}


async def test_a_sid_that_twilio_does_not_know_is_told(standin: StandIn) -> None:
    """It is another account's, or nobody's."""
    for kind, prefix in (("--number", "PN"), ("--service", "MG")):
        shown = await connect(standin, kind, new_sid(prefix), "--yes")
        assert isinstance(shown.exception, TwilioNotFound)
    wrong = await connect(
        standin, "--number", new_sid("PN"), "--yes", TWILIO_AUTH_TOKEN="wrong"
    )
    assert isinstance(wrong.exception, TwilioUnauthenticated)


async def test_a_subaccount_is_asked_with_its_own_token(account: Account) -> None:
    """``--account`` chooses whose number it is, and whose token is sent."""
    sub = Account(f"AC{'b' * 32}", ["sub-token"])
    sid = add_number(sub, "+14155550198")
    async with StandIn(account, sub) as standin:
        await connect(
            standin,
            "--number",
            sid,
            "--account",
            sub.sid,
            "--yes",
            LEDGER_TWILIO_SUBACCOUNTS=json.dumps({sub.sid: "sub-token"}),
        )
        assert {r.token for r in standin.received} == {"sub-token"}
    assert sub.list_of("incoming_phone_numbers")[sid]["sms_url"] == HERE


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (faults.busy, TwilioBusy),
        (faults.down, TwilioUnavailable),
        (faults.gateway, TwilioUnavailable),
        (faults.portal, TwilioUnusableAnswer),
        (faults.array, TwilioUnusableAnswer),
        (faults.cut, TwilioUnusableAnswer),
        (faults.gone, TwilioUnavailable),
        (faults.slow, TwilioTimeout),
        (faults.suspended, TwilioForbidden),
        (faults.refused, TwilioRefused),
        (faults.problem, TwilioRefused),
    ],
)
@pytest.mark.parametrize("moment", ["look", "apply"])
async def test_a_fault_leaves_the_number_as_it_was(  # noqa: PLR0913, PLR0917 - a table
    fault: Fault,
    expected: type[LedgerError],
    moment: str,
    standin: StandIn,
    account: Account,
    pauses: Pauses,
) -> None:
    """Whatever fails, and whenever, the same command afterwards does the work."""
    sid = add_number(account, "+14155550199")
    seconds = "0.05" if fault is faults.slow else "10"
    failing = settings_at(standin, LEDGER_TWILIO_TIMEOUT_SECONDS=seconds)
    async with (
        open_account(settings_at(standin)) as twilio,
        open_account(failing, pause=pauses) as unlucky,
    ):
        plan = await look(twilio, "number", sid, WANTED)
        standin.fail(fault, times=2 * ATTEMPTS_MAX)
        looking = partial(look, unlucky, "number", sid, WANTED)
        applying = partial(apply, unlucky, plan, WANTED)
        with pytest.raises(expected):
            await {"look": looking, "apply": applying}[moment]()
        assert account.list_of("incoming_phone_numbers")[sid]["sms_url"] == ""
        standin.mend()
        plan = await look(twilio, "number", sid, WANTED)
        assert (await apply(twilio, plan, WANTED)).changes == {}


async def test_a_change_that_twilio_does_not_show_is_not_made(
    standin: StandIn, account: Account
) -> None:
    """What the update answers must have every field as it was set."""
    sid = add_number(account, "+14155550199")
    async with open_account(settings_at(standin)) as twilio:
        plan = await look(twilio, "number", sid, WANTED)
        one = replace(plan, changes={"sms_url": HERE})
        with pytest.raises(TwilioUnusableAnswer, match="sms_fallback_url") as caught:
            await apply(twilio, one, WANTED)
    assert caught.value.may_be_done


async def test_without_changes_nothing_is_sent(
    standin: StandIn, account: Account
) -> None:
    """An empty plan is done already."""
    sid = add_number(account, "+14155550199")
    settings = settings_at(standin)
    wanted = addresses(settings, None, None)
    async with open_account(settings) as twilio:
        plan: Plan = await look(twilio, "number", sid, wanted)
        done = replace(plan, changes={})
        assert await apply(twilio, done, wanted) is done
    assert {r.method for r in standin.received} == {"GET"}
