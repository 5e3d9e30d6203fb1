"""``reconcile``: what Twilio shows and the ledger has not, against the stand-in."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from typing import Any, Final

import pytest
from aiohttp import web
from api_steps import text
from builders import MASTERS, NUMBER, SENDER, signal, text_form
from conftest import Client, settings_for
from twilio_api import faults
from twilio_api.deactivations import deactivate, expire
from twilio_api.documents import Account
from twilio_api.messages import add_text
from twilio_api.standin import StandIn

from ledger.cli.backfill import asked_for
from ledger.cli.reconcile import Done, reconciled, report_of
from ledger.cli.setup import Ledger
from ledger.command_handler import CommandHandler
from ledger.domain.classify import Vocabulary
from ledger.domain.events import ConsentChanged, ConsentLapsed
from ledger.domain.ids import PhoneNumber, Position
from ledger.errors import TwilioUnavailable
from ledger.message_log import MessageLog
from ledger.store.database import Pool
from ledger.store.keyring import Keyring
from ledger.store.postgres import PostgresEventStore
from ledger.twilio.account import open_account
from ledger.twilio.deactivations import deactivated_on
from ledger.webhook.parse import parse_text

NOW: Final = datetime.now(UTC).replace(microsecond=0)
TODAY: Final = NOW.date()
YESTERDAY: Final = TODAY - timedelta(days=1)
OTHER: Final = PhoneNumber("+14155550142")
ACTOR: Final = "cli:office"

Compare = Callable[..., Any]


@pytest.fixture
def ledger(
    dsn: str, standin: StandIn, pool: Pool, store: PostgresEventStore, keyring: Keyring
) -> Ledger:
    """What the command works with."""
    settings = settings_for(
        dsn,
        LEDGER_TWILIO_API_URL=standin.url,
        LEDGER_RECORD_MESSAGES="true",
        LEDGER_TWILIO_TIMEOUT_SECONDS="2",
    )
    return Ledger(pool, store, keyring, settings, MASTERS, dsn)


@pytest.fixture
def compare(ledger: Ledger) -> Compare:
    """Run the command, and have its report."""

    async def run(by: str | None = None) -> Any:
        begin = datetime.combine(TODAY - timedelta(days=2), time.min)
        asked = asked_for(begin, None, None, None)
        done: Done = await reconciled(ledger, asked, by)
        assert done.error is None, done.error
        report = report_of(asked, done, by)
        assert NUMBER not in json.dumps(report, default=str)
        return report

    return run


def ago(**more: float) -> datetime:
    """A time before now."""
    return NOW - timedelta(**more)


async def test_drift_is_counted_by_kind_and_recorded_when_asked(
    compare: Compare,
    account: Account,
    client: Client,
    handler: CommandHandler,
    store: PostgresEventStore,
) -> None:
    """Each with its real time; afterwards there is none, and STOPs are not doubled."""
    await text(client, "STOP", From="+14155550111")
    stopped = add_text(account, "STOP", ago(hours=30))
    add_text(account, "START", ago(hours=2), **{"from": OTHER})
    refused = {"direction": "outbound-api", "status": "failed", "error_code": 21610}
    add_text(
        account, "x", ago(hours=3), to="+14155550123", **{"from": SENDER} | refused
    )
    gone = PhoneNumber("+14155550177")
    await handler.handle(
        signal(phone_number=gone, status="in", occurred_at=ago(days=9))
    )
    deactivate(account, YESTERDAY, gone[1:], "4155550123", "+14155550199", "no number")
    before = await store.last_position()
    drifted = {"stop": 1, "start": 1, "blocked": 1, "deactivated": 1}
    report = await compare()
    assert (report["drift"], report["recorded"]) == (drifted, False)
    assert (report["deactivatedNumbers"], report["unreadableLines"]) == (3, 1)
    assert report["daysWithoutList"] == [TODAY - timedelta(days=2), TODAY]
    [example] = [e for e in report["examples"] if e["kind"] == "stop"]
    assert (example["messageSid"], example["number"]) == (stopped, "+1…00")
    assert await store.last_position() == before
    assert (await compare(ACTOR))["drift"] == drifted
    recorded = [e for _, e in await store.read_after(before, 100)]
    consents = {
        (e.matched_by, e.status, e.occurred_at)
        for e in recorded
        if isinstance(e, ConsentChanged)
    }
    assert consents == {
        ("keyword", "out", ago(hours=30)),
        ("keyword", "in", ago(hours=2)),
        ("error21610", "out", ago(hours=3)),
    }
    [lapsed] = [e for e in recorded if isinstance(e, ConsentLapsed)]
    assert lapsed.occurred_at == datetime.combine(YESTERDAY, time.max, UTC)
    assert lapsed.actor == ACTOR
    assert set((await compare(ACTOR))["drift"].values()) == {0}


async def test_a_text_that_says_stop_by_now_is_drift(
    compare: Compare, account: Account, handler: CommandHandler, ledger: Ledger
) -> None:
    """Though it was recorded, as one that said nothing."""
    form = text_form("Genug")
    log = MessageLog(handler, ledger.store, ledger.keyring)
    await log.record(parse_text([*form.items()], Vocabulary()))
    add_text(account, "Genug", NOW, sid=form["MessageSid"])
    assert (await compare())["drift"]["stop"] == 0
    settings = settings_for(
        ledger.dsn,
        LEDGER_TWILIO_API_URL=ledger.settings.twilio_api_url or "",
        LEDGER_OUT_WORDS="Genug",
    )
    anew = ledger._replace(settings=settings)
    asked = asked_for(datetime.combine(YESTERDAY, time.min), None, None, None)
    for by, stops in ((None, 1), (ACTOR, 1), (None, 0)):
        done = await reconciled(anew, asked, by)
        assert done.drift.counts["stop"] == stops


async def test_a_deactivated_number_is_unknown_and_not_out(
    compare: Compare,
    account: Account,
    handler: CommandHandler,
) -> None:
    """Who has renewed since stays in; who is out stays out."""
    people = {
        "in": (("in", 9.0),),
        "renewed": (("in", 9.0), ("in", 0.01)),
        "out": (("in", 9.0), ("out", 8.0)),
    }
    numbers = {n: PhoneNumber(f"+1415555020{i}") for i, n in enumerate(people)}
    for name, said in people.items():
        for status, days in said:
            one = signal(
                phone_number=numbers[name],
                status=status,
                occurred_at=datetime.now(UTC) - timedelta(days=days),
            )
            await handler.handle(one)
    deactivate(account, TODAY - timedelta(days=2), *numbers.values())
    report = await compare(ACTOR)
    assert report["drift"]["deactivated"] == 1
    subjects = await handler.subjects_of(numbers.values())
    facts = {name: subjects[number].facts[SENDER] for name, number in numbers.items()}
    statuses = {name: fact.status for name, fact in facts.items()}
    assert statuses == {"in": "unknown", "renewed": "in", "out": "out"}


async def test_a_list_counts_whole_or_not_at_all(
    ledger: Ledger, account: Account, standin: StandIn, pauses: Any
) -> None:
    """A link that is too old and a file that is cut off are asked for anew."""
    deactivate(account, YESTERDAY, NUMBER)
    served = 0

    async def late(_: web.Request) -> web.StreamResponse:
        nonlocal served
        served += 1
        expire(account)
        return web.Response(status=403, text="<Error>Request has expired</Error>")

    async with open_account(ledger.settings, pause=pauses) as opened:
        for fault in (late, faults.cut, faults.down):
            # The link is had, and then the file is not.
            standin.fail(faults.none)
            standin.fail(fault)
            found = await deactivated_on(opened, ledger.settings, YESTERDAY)
            assert found is not None
            assert found.numbers == [NUMBER]
        for _ in range(3):
            standin.fail(faults.none)
            standin.fail(faults.cut)
        with pytest.raises(TwilioUnavailable) as caught:
            await deactivated_on(opened, ledger.settings, YESTERDAY)
    assert "link-" not in str(caught.value)
    assert served == 1


async def test_a_failure_of_twilio_s_ends_it_and_loses_nothing(
    ledger: Ledger, account: Account, standin: StandIn
) -> None:
    """What was recorded stays, and the report says that it is not whole."""
    add_text(account, "STOP", ago(minutes=1))
    asked = asked_for(datetime.combine(TODAY, time.min), None, None, None)
    standin.fail(faults.none)
    standin.fail(faults.busy_for_long)
    done = await reconciled(ledger, asked, ACTOR)
    assert isinstance(done.error, TwilioUnavailable)
    assert (done.is_whole, done.drift.counts["stop"]) == (False, 1)
    assert await ledger.store.last_position() == Position(2)
    done = await reconciled(ledger, asked, ACTOR)
    assert (done.error, done.is_whole, dict(done.drift.counts)) == (None, True, {})
