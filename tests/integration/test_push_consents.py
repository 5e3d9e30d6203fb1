"""``push-consents``: what people say, told to the stand-in's Consent API."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import pytest
from aiohttp import web
from builders import ACCOUNT_SID, MASTERS, NUMBER, signal
from conftest import Pauses, settings_for
from twilio_api import faults
from twilio_api.consents import told
from twilio_api.documents import Account, error
from twilio_api.messages import block
from twilio_api.receivers import add_number, add_service
from twilio_api.standin import StandIn

from ledger.cli.push import pushed, report_of
from ledger.cli.setup import Ledger
from ledger.command_handler import CommandHandler
from ledger.domain.ids import EVERY_SENDER, PhoneNumber, Sender, SubjectId, Version
from ledger.erasure import Erasures
from ledger.errors import PushRunning, TwilioRefused, TwilioUnavailable
from ledger.lapses import Lapses
from ledger.pushing.pushes import Pushes
from ledger.pushing.senders import senders_of
from ledger.pushing.wishes import Wish
from ledger.store.database import Pool
from ledger.store.keyring import Keyring
from ledger.store.postgres import PostgresEventStore
from ledger.twilio.account import open_account
from ledger.twilio.consents import CALLS_A_MINUTE, ITEMS_MAX, Consents

LOCAL: Final = "+14155550199"
TOLL_FREE: Final = "+18005550199"
POOLED: Final = "+14155550188"
LISTS: Final = 5
"""Calls that find out which senders there are."""
WISH: Final = Wish(
    subject_id=SubjectId(UUID(int=1)),
    subject_version=Version(1),
    number=NUMBER,
    sender=Sender(LOCAL),
    status="out",
    version=Version(1),
    occurred_at=datetime(2026, 1, 1, tzinfo=UTC),
    source="others",
)

Push = Callable[..., Any]
Say = Callable[..., Any]


@pytest.fixture(autouse=True)
def service(account: Account) -> str:
    """An account with a number, a toll-free one, and a service with one in it."""
    add_number(account, LOCAL)
    add_number(account, TOLL_FREE)
    return add_service(account, add_number(account, POOLED))


@pytest.fixture
def ledger(
    dsn: str, standin: StandIn, pool: Pool, store: PostgresEventStore, keyring: Keyring
) -> Ledger:
    """What the command works with."""
    settings = settings_for(dsn, LEDGER_TWILIO_API_URL=standin.url)
    return Ledger(pool, store, keyring, settings, MASTERS, dsn)


@pytest.fixture
def push(ledger: Ledger) -> Push:
    """Run the command, and have its report."""

    async def run(*, dry_run: bool = False, everybody: bool = False) -> Any:
        done = await pushed(ledger, None, everybody=everybody, dry_run=dry_run)
        assert done.error is None, done.error
        return report_of(done, dry_run=dry_run)

    return run


@pytest.fixture
def say(handler: CommandHandler) -> Say:
    """Record what somebody says, some days ago: by a text, or through the API."""

    async def run(
        status: str, sender: str, days: float, *, number: str = NUMBER, by: str = "text"
    ) -> None:
        source = {"text": "twilio.inbound", "api": "api"}[by]
        matched_by = {"text": "keyword", "api": "explicit"}[by]
        said = signal(
            phone_number=PhoneNumber(number),
            status=status,
            sender=sender,
            source=source,
            matched_by=matched_by,
            occurred_at=datetime.now(UTC) - timedelta(days=days),
        )
        await handler.handle(said)

    return run


async def test_what_has_changed_is_told_and_nothing_twice(
    push: Push, say: Say, account: Account, service: str
) -> None:
    """To the sender that it was said to; what is for all, to each that blocks alone.

    A dry run says the same and tells nothing.
    """
    await say("out", LOCAL, 5)
    await say("in", service, 5, by="api")
    await say("out", EVERY_SENDER, 4, number="+14155550142", by="api")
    await say("out", "+14155550000", 4)
    await say("out", LOCAL, 4, number="72345")
    dry = await push(dry_run=True)
    assert (dry["told"], dry["calls"]) == ({"in": 1, "out": 4}, 0)
    assert account.list_of("consents") == {}
    report = await push()
    assert report["told"] == dry["told"]
    assert report["held"] | {"otherSender": 1, "notANumber": 1} == report["held"]
    assert told(account, NUMBER, LOCAL) == "opt-out"
    assert told(account, NUMBER, service) == "opt-in"
    every = {s: told(account, "+14155550142", s) for s in (LOCAL, service, TOLL_FREE)}
    assert set(every.values()) == {"opt-out"}
    assert told(account, "+14155550142", POOLED) is None
    item = account.list_of("consents")[f"{NUMBER}>{LOCAL}"]
    assert (item["source"], len(item["correlation_id"])) == ("opt-out-message", 32)
    again = await push()
    assert (again["told"], again["calls"]) == ({"in": 0, "out": 0}, 0)
    assert (await push(everybody=True))["unchanged"] == 5
    await say("in", LOCAL, 1)
    assert (await push())["told"] == {"in": 1, "out": 0}
    assert told(account, NUMBER, LOCAL) == "opt-in"


async def test_an_in_is_never_told_over_a_stop_that_twilio_holds(
    push: Push, say: Say, account: Account
) -> None:
    """A form, a call or an import does not lift it: the person's own START does.

    Nor does START for a toll-free number, which the carriers' network answers for.
    """
    block(account, NUMBER, LOCAL)
    await say("out", LOCAL, 9)
    await say("in", LOCAL, 8, by="api")
    report = await push()
    assert (report["told"], report["held"]["stop"]) == ({"in": 0, "out": 0}, 1)
    assert f"{NUMBER}>{LOCAL}" in account.list_of("blocked")
    await say("in", LOCAL, 7)
    assert (await push())["told"]["in"] == 1
    await say("out", TOLL_FREE, 9)
    await say("in", TOLL_FREE, 8)
    assert (await push())["held"]["tollFree"] == 1
    # Nobody but us was given this one, so that we may take it back.
    await say("out", LOCAL, 9, number="+14155550142", by="api")
    await push()
    await say("in", LOCAL, 8, number="+14155550142", by="api")
    assert (await push())["told"]["in"] == 1


async def test_what_is_not_known_to_stand_is_not_told(
    push: Push, say: Say, handler: CommandHandler, ledger: Ledger
) -> None:
    """An ``in`` after an erasure that has left an ``out``, and one that has lapsed."""
    erasures = Erasures(ledger.pool, ledger.store, ledger.keyring)
    await say("out", LOCAL, 9, number="+14155550143")
    await erasures.erase(PhoneNumber("+14155550143"), reason="asked", actor="key:a")
    await say("in", LOCAL, 1, number="+14155550143", by="api")
    report = await push()
    assert (report["told"]["in"], report["held"]["stop"]) == (0, 1)
    # A consent that has lapsed is no word that Twilio has.
    await say("in", LOCAL, 9, number="+14155550144", by="api")
    lapses = Lapses(ledger.store, handler)
    await lapses.record([PhoneNumber("+14155550144")], datetime.now(UTC), actor="cli:a")
    report = await push()
    assert (report["told"]["in"], report["held"]["lapsed"]) == (0, 1)


async def test_what_one_item_is_refused_for_holds_nobody_back(
    push: Push, say: Say, account: Account, standin: StandIn
) -> None:
    """Whether the call succeeds or is refused whole; it is tried again each time.

    A sender that is new is told about everybody.
    """
    numbers = [f"+1415555{n:04}" for n in range(ITEMS_MAX + 5)]
    for number in numbers:
        await say("out", LOCAL, 5, number=number)
    account.list_of("unwanted")[numbers[3]] = {}
    report = await push()
    assert (report["told"]["out"], report["refused"]) == (
        len(numbers) - 1,
        {"30646": 1},
    )
    assert report["calls"] == 2
    account.list_of("unwanted").clear()

    async def refuse_one(request: web.Request) -> web.StreamResponse:
        if any(numbers[7] in item for item in standin.received[-1].form["Items"]):
            return error(400, 20001)
        return await request.match_info.handler(request)

    await say("in", LOCAL, 1, number=numbers[7])
    await say("in", LOCAL, 1, number=numbers[8])
    standin.fail(none, times=LISTS)
    standin.fail(refuse_one, times=3)
    report = await push()
    assert (report["told"], report["refused"]) == ({"in": 1, "out": 1}, {"20001": 1})
    assert (await push())["told"] == {"in": 1, "out": 0}
    await say("out", EVERY_SENDER, 0.1, number=numbers[0], by="api")
    await push()
    added = add_service(account)
    assert (await push())["told"] == {"in": 0, "out": 1}
    assert told(account, numbers[0], added) == "opt-out"


async def none(request: web.Request) -> web.StreamResponse:
    """No fault: the answer that there is."""
    answer: web.StreamResponse = await request.match_info.handler(request)
    return answer


async def test_a_kill_between_the_call_and_its_note_tells_the_same_again(
    ledger: Ledger, say: Say, account: Account, standin: StandIn, pauses: Pauses
) -> None:
    """No answer, half of one, 5xx: repeated since it says where things stand."""
    await say("out", LOCAL, 5)
    async with open_account(ledger.settings, pause=pauses) as opened:
        senders = await senders_of(opened)

        async def run(**more: Any) -> Pushes:
            pushes = Pushes(
                ledger.pool,
                ledger.store,
                ledger.keyring,
                CommandHandler(ledger.store, ledger.keyring, ledger.settings),
                account_sid=ACCOUNT_SID,
                senders=senders,
                consents=Consents(opened, pause=pauses),
            )
            assert await pushes.run(**more) is not None
            return pushes

        standin.fail(faults.gone, times=3, done=True)
        with pytest.raises(TwilioUnavailable):
            await run()
        assert told(account, NUMBER, LOCAL) == "opt-out"
        standin.mend()
        for fault in (faults.cut, faults.down, faults.portal, faults.empty_object):
            standin.fail(fault, done=True)
        with pytest.raises(TwilioUnavailable):
            await run()
        standin.mend()
        standin.fail(faults.suspended)
        with pytest.raises(TwilioRefused):
            await run()
        stopped = await run(is_stopping=lambda: True)
        assert stopped.pushed.told == {}
        assert (await run()).pushed.told == {"out": 1}
        assert (await run()).pushed.told == {}
        async with ledger.pool.acquire() as connection:
            lock = (
                "SELECT pg_advisory_lock(hashtext('consent-ledger push'), hashtext($1))"
            )
            await connection.execute(lock, ACCOUNT_SID)
            with pytest.raises(PushRunning):
                await run()


async def test_a_stop_that_comes_while_an_in_is_on_its_way_is_told_after_it(
    push: Push, say: Say, account: Account, standin: StandIn
) -> None:
    """Whoever is late in telling Twilio does not have the last word."""
    await say("in", LOCAL, 5, by="api")

    async def stopped_meanwhile(request: web.Request) -> web.StreamResponse:
        await say("out", LOCAL, 0)
        return await none(request)

    standin.fail(none, times=LISTS)
    standin.fail(stopped_meanwhile)
    report = await push()
    assert report["told"] == {"in": 1, "out": 1}
    assert told(account, NUMBER, LOCAL) == "opt-out"
    assert NUMBER not in json.dumps(report)


async def test_calls_keep_to_what_twilio_takes_a_minute(
    ledger: Ledger, pauses: Pauses
) -> None:
    """However fast it answers."""
    async with open_account(ledger.settings) as opened:
        consents = Consents(opened, pause=pauses, clock=lambda: 0.0)
        for _ in range(3):
            await consents.tell([WISH])
    assert pauses.seconds == [60 / CALLS_A_MINUTE, 2 * 60 / CALLS_A_MINUTE]
