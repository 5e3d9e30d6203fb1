"""``twilio doctor`` against the stand-in and the real webhook, well and not."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

import pytest
from aiohttp.test_utils import TestServer
from builders import ACCOUNT_SID, AUTH_TOKEN
from conftest import Pauses, settings_for
from e2e.processes import free_port
from twilio_api import faults
from twilio_api.documents import Account
from twilio_api.faults import Fault
from twilio_api.receivers import add_number, add_service, add_short_code
from twilio_api.standin import StandIn, settings_at
from typer.testing import CliRunner

from ledger.__main__ import app as command_line
from ledger.app import make_app
from ledger.errors import TwilioUnauthenticated, TwilioUnavailable
from ledger.settings import Settings
from ledger.store.database import Connection
from ledger.twilio import leaks
from ledger.twilio.account import Standing, open_account
from ledger.twilio.checks import (
    Token,
    check_clocks,
    check_credentials,
    check_public_url,
    check_rotation,
    check_webhook,
)
from ledger.twilio.connect import apply, look
from ledger.twilio.doctor import Diagnosis, diagnose
from ledger.twilio.probe import Reply
from ledger.twilio.receivers import Addresses

NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)
ACTIVE: Final = Standing("active", "Full", NOW)
FORBIDDEN: Final = Reply(403, "invalid_signature", NOW)
UNUSABLE: Final = Reply(422, "unusable_text", NOW)

Server = Callable[..., Awaitable[TestServer]]


@pytest.fixture
async def service(dsn: str, standin: StandIn, aiohttp_server: Server) -> Settings:
    """The settings of a real web application that listens under its PUBLIC_URL."""
    port = free_port()
    settings = settings_for(
        dsn,
        PUBLIC_URL=f"http://127.0.0.1:{port}",
        LEDGER_TWILIO_API_URL=standin.url,
    )
    await aiohttp_server(await make_app(dsn, settings), port=port)
    return settings


def verdicts(diagnosis: Diagnosis, *checks: str) -> list[str]:
    """The verdicts of some checks, in their order."""
    return [f.verdict for f in diagnosis.findings if f.check in checks]


async def test_all_is_well_where_texts_come_here(
    service: Settings, account: Account, connection: Connection
) -> None:
    """Every check but that of the address, which is this machine's, is content.

    And nothing was recorded by any probe.
    """
    sid = add_number(account, "+14155550199")
    wanted = Addresses(service.signed_url)
    async with open_account(service) as twilio:
        await apply(twilio, await look(twilio, "number", sid, wanted), wanted)
    diagnosis = await diagnose(service)
    others = [f for f in diagnosis.findings if f.check != "public URL"]
    assert [f for f in others if f.verdict != "ok"] == []
    assert {f.check for f in others} == {"credentials", "webhook", "clock", "receiver"}
    assert [r.target for r in diagnosis.registered] == ["here"]
    assert await connection.fetchval("SELECT count(*) FROM ledger_events") == 0


async def test_a_webhook_with_another_token_is_found(
    service: Settings, account: Account
) -> None:
    """Twilio takes the token, and the service does not: the second of two, too."""
    account.tokens = ["new", AUTH_TOKEN]
    told = settings_for(
        str(service.database_url),
        PUBLIC_URL=service.signed_url,
        TWILIO_AUTH_TOKEN=f"{AUTH_TOKEN},new",
        LEDGER_TWILIO_API_URL=str(service.twilio_api_url),
    )
    diagnosis = await diagnose(told)
    assert verdicts(diagnosis, "credentials", "rotation") == ["ok", "warning"]
    assert verdicts(diagnosis, "webhook") == ["ok", "ok", "ok", "wrong"]


async def test_every_receiver_is_shown_with_who_is_called(
    standin: StandIn, account: Account, pauses: Pauses
) -> None:
    """Numbers, short codes and services, each with its service and its target."""
    pooled = add_number(account, "+14155550199", sms_url="https://sms.example.com/x")
    service = add_service(account, pooled)
    alone = add_short_code(account, "71234")
    deaf = add_number(account, "+14155550198", capabilities={"sms": False})
    settings = settings_at(standin, PUBLIC_URL="http://127.0.0.1:9")
    diagnosis = await diagnose(settings, pause=pauses)
    shown = {r.receiver.sid: (r.service_sid, r.target) for r in diagnosis.registered}
    assert shown == {
        service: (None, "nowhere"),
        pooled: (service, "nowhere"),
        alone: (None, "nowhere"),
    }
    assert deaf not in shown
    wrong = {f.found for f in diagnosis.findings if f.verdict == "wrong"}
    assert {leaks.SERVICE_NOWHERE.sentence, leaks.SHORT_CODE_ALONE.sentence} < wrong


async def test_a_service_without_numbers_loses_nothing(
    standin: StandIn, account: Account
) -> None:
    """It has no inbound URL and nobody can text it: that is a note."""
    sid = add_service(account)
    diagnosis = await diagnose(settings_at(standin, PUBLIC_URL="http://127.0.0.1:9"))
    about = [f.verdict for f in diagnosis.findings if sid in f.about]
    assert set(about) == {"note"}


@pytest.mark.parametrize(
    "fault",
    [
        faults.busy,
        faults.down,
        faults.gateway,
        faults.portal,
        faults.array,
        faults.empty_object,
        faults.cut,
        faults.gone,
        faults.slow,
        faults.suspended,
        faults.refused,
        faults.problem,
    ],
)
async def test_a_fault_of_twilios_is_a_finding(
    fault: Fault, standin: StandIn, pauses: Pauses
) -> None:
    """Doctor never fails itself: it says what failed, and what to do about it."""
    standin.fail(fault, times=100)
    settings = settings_at(
        standin,
        PUBLIC_URL="http://127.0.0.1:9",
        LEDGER_TWILIO_TIMEOUT_SECONDS="0.05" if fault is faults.slow else "10",
    )
    diagnosis = await diagnose(settings, pause=pauses)
    [finding] = [f for f in diagnosis.findings if f.check == "credentials"]
    assert (finding.verdict, bool(finding.advice)) == ("wrong", True)
    assert not diagnosis.is_well
    assert "5550100" not in finding.found


async def test_the_command_prints_and_exits_with_one(
    standin: StandIn, account: Account
) -> None:
    """For people, and as JSON for a script; wrong credentials are named."""
    add_number(account, "+14155550199")
    given = {
        "LEDGER_TWILIO_API_URL": standin.url,
        "PUBLIC_URL": "http://127.0.0.1:9",
        "TWILIO_ACCOUNT_SID": ACCOUNT_SID,
        "TWILIO_AUTH_TOKEN": AUTH_TOKEN,
    }
    shown = await _doctor(given)
    assert shown.exit_code == 1
    assert leaks.NOWHERE.sentence in shown.output
    answer = json.loads((await _doctor(given, "--json")).output)
    assert answer["well"] is False
    assert [r["target"] for r in answer["receivers"]] == ["nowhere"]
    wrong = await _doctor(given | {"TWILIO_AUTH_TOKEN": "wrong"})
    assert "an API key's secret is none" in wrong.output
    assert "a-token-for-tests" not in wrong.output + shown.output


async def _doctor(environment: dict[str, str], *arguments: str) -> Any:
    command = ["twilio", "doctor", *arguments]
    run = partial(CliRunner().invoke, command_line, command, env=environment)
    return await asyncio.to_thread(run)


@pytest.mark.parametrize(
    ("url", "verdict"),
    [
        ("https://sms.example.com", "ok"),
        ("http://sms.example.com", "warning"),
        ("https://my_sms.example.com", "wrong"),
        ("http://127.0.0.1:8080", "wrong"),
        ("http://localhost", "wrong"),
        ("http://[::1]:8080", "wrong"),
    ],
)
def test_a_public_url_must_be_public(url: str, verdict: str) -> None:
    """Twilio cannot call this machine, nor a host with an underscore."""
    finding = check_public_url(Settings.from_mapping({"PUBLIC_URL": url}))
    assert finding.verdict == verdict
    assert bool(finding.advice) == (verdict != "ok")


def token(place: int, answer: Any) -> Token:
    """A token and what Twilio made of it."""
    return Token(ACCOUNT_SID, place, f"token{place}", answer)


REFUSED: Final = TwilioUnauthenticated("no", status=401)


@pytest.mark.parametrize(
    ("answers", "credentials", "rotation"),
    [
        ([ACTIVE], "ok", []),
        ([ACTIVE, ACTIVE], "ok", ["Twilio takes every token"]),
        ([ACTIVE, REFUSED], "ok", ["Twilio refuses token 2 of 2"]),
        ([REFUSED, ACTIVE], "ok", ["Twilio refuses token 1 of 2"]),
        ([REFUSED, REFUSED], "wrong", []),
        ([REFUSED], "wrong", []),
        ([TwilioUnavailable("down")], "wrong", []),
        ([Standing("suspended", "Full", NOW)], "wrong", []),
    ],
)
def test_tokens_are_told_apart(
    answers: Sequence[Any], credentials: str, rotation: list[str]
) -> None:
    """One good token is enough, and two are a rotation that should end."""
    tokens = [token(place, answer) for place, answer in enumerate(answers, start=1)]
    assert check_credentials(tokens).verdict == credentials
    assert [finding.found for finding in check_rotation(tokens)] == rotation


@pytest.mark.parametrize(
    ("replies", "expected"),
    [
        ([FORBIDDEN, FORBIDDEN, UNUSABLE], ["ok", "ok", "ok"]),
        ([FORBIDDEN, FORBIDDEN, FORBIDDEN], ["ok", "ok", "wrong"]),
        ([UNUSABLE, UNUSABLE, UNUSABLE], ["wrong", "wrong", "ok"]),
        ([Reply(200, "", NOW)] * 3, ["wrong"] * 3),
        ([Reply(422, "other", NOW)] * 3, ["wrong"] * 3),
        ([FORBIDDEN, FORBIDDEN, TimeoutError()], ["ok", "ok", "wrong"]),
        ([TimeoutError()] * 3, ["wrong"]),
    ],
)
def test_only_what_is_signed_may_come_in(
    replies: Sequence[Reply | Exception], expected: list[str]
) -> None:
    """A service that lets anything in is as wrong as one that lets nothing in."""
    found = check_webhook("https://a.example", ACCOUNT_SID, replies)
    assert [finding.verdict for finding in found] == expected


@pytest.mark.parametrize(("seconds", "verdict"), [(30, "ok"), (-31, "warning")])
def test_clocks_are_held_against_twilios(seconds: int, verdict: str) -> None:
    """This machine's and the service's, as far as they are known."""
    off = NOW + timedelta(seconds=seconds)
    found = list(check_clocks([token(1, ACTIVE)], off, off))
    assert [finding.verdict for finding in found] == [verdict] * 2
    assert len(list(check_clocks([token(1, ACTIVE)], off, None))) == 1
    assert list(check_clocks([token(1, REFUSED)], off, off)) == []
