"""``import twilio``: old texts of Twilio's log, against the stand-in."""

import asyncio
import json
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from api_steps import text
from builders import (
    ACCOUNT_SID,
    AUTH_TOKEN,
    MASTER_KEY,
    MASTERS,
    SENDER,
    signal,
    text_form,
)
from conftest import Client, Pauses, eventually, settings_for
from e2e.processes import COMMAND, environment_for, free_port
from twilio_api import faults
from twilio_api.documents import Account
from twilio_api.messages import add_text
from twilio_api.receivers import add_number, add_service
from twilio_api.standin import StandIn

from ledger.cli.backfill import asked_for, backfilled, report_of
from ledger.cli.setup import Ledger
from ledger.command_handler import CommandHandler
from ledger.domain.classify import Vocabulary
from ledger.domain.events import (
    ConsentChanged,
    MessageEvent,
    MessageReceived,
    MessageSent,
)
from ledger.domain.ids import Position
from ledger.errors import TwilioRefused, TwilioUnavailable
from ledger.imports.rereading import Rereading
from ledger.imports.sinks import Once, Recording
from ledger.imports.walk import InOrder, Kept, Walk
from ledger.message_log import MessageLog
from ledger.store.database import Connection, Pool
from ledger.store.keyring import Keyring
from ledger.store.postgres import PostgresEventStore
from ledger.twilio.account import open_account
from ledger.twilio.log import Scope
from ledger.webhook.parse import parse_text
from ledger.webhook.status import parse_status

NOW: Final = datetime.now(UTC).replace(microsecond=0)
OTHER: Final = "+14155550142"
SINCE: Final = (NOW - timedelta(days=4)).date()

CONSENTS: Final = (
    "SELECT count(*) FROM ledger_events WHERE topic LIKE '%:ConsentChanged'"
)

Run = Callable[..., Any]


def ago(days: float, seconds: float = 0) -> datetime:
    """A time so many days ago."""
    return NOW - timedelta(days=days) + timedelta(seconds=seconds)


@pytest.fixture
def ledger(
    dsn: str, standin: StandIn, pool: Pool, store: PostgresEventStore, keyring: Keyring
) -> Ledger:
    """What the command works with."""
    settings = settings_for(
        dsn, LEDGER_TWILIO_API_URL=standin.url, LEDGER_RECORD_MESSAGES="true"
    )
    return Ledger(pool, store, keyring, settings, MASTERS, dsn)


@pytest.fixture
def run(ledger: Ledger) -> Run:
    """Run the command, and have its report."""

    async def invoke(*, apply: bool, **asked: str) -> Any:
        given = {"to": None, "service": None, "account": None} | asked
        wanted = asked_for(datetime.combine(SINCE, time.min), **given)
        done = await backfilled(ledger, wanted, apply=apply)
        assert done.error is None
        return report_of(wanted, done, apply=apply)

    return invoke


async def events_of(store: PostgresEventStore) -> list[ConsentChanged]:
    """Every consent, in order."""
    recorded = await store.read_after(Position(0), 1000)
    return [event for _, event in recorded if isinstance(event, ConsentChanged)]


async def heard(log: MessageLog, form: dict[str, str]) -> None:
    """What the webhook records of a text, by the words that there are by default."""
    await log.record(parse_text([*form.items()], Vocabulary()))


async def test_old_texts_are_merged_in_their_real_order_with_their_real_times(
    run: Run, account: Account, store: PostgresEventStore
) -> None:
    """Of one second too, in the list's order; twice records nothing new.

    A dry run foresees what the other one does, and records nothing.
    """
    service = add_service(account, inbound_request_url=None)
    said = [
        (add_text(account, "STOP", ago(3)), "out", ago(3)),
        (add_text(account, "START", ago(3)), "in", ago(3)),
        (add_text(account, "please stop texting me", ago(2)), "out", ago(2)),
        (add_text(account, "Yes", ago(1), messaging_service_sid=service), "in", ago(1)),
    ]
    add_text(account, "hello", ago(1))
    add_text(account, "", ago(1))
    add_text(account, "", ago(1), num_media="1")
    add_text(account, "STOP", ago(1), **{"from": f"+1415555{'X' * 4}"})
    add_text(account, "STOP", ago(9))
    blocked = {"direction": "outbound-api", "status": "failed", "from": SENDER}
    add_text(account, "news", ago(0.5), to=OTHER, error_code=21610, **blocked)
    add_text(account, "news", ago(0.5), to=OTHER, error_code=30003, **blocked)
    dry = await run(apply=False)
    assert (dry["dryRun"], dry["recorded"], dry["duplicates"]) == (True, 5, 0)
    assert dry["numbers"] == {"turnOut": 2, "turnIn": 0, "stay": 0}
    assert await events_of(store) == []
    done = await run(apply=True)
    for name in ("recorded", "duplicates", "skipped", "refused", "messages"):
        assert done[name] == dry[name]
    assert done["skipped"] == {"saysNothing": 2, "bodyGone": 1, "otherDirection": 1}
    assert done["refused"] == {"redacted_number": 1}
    assert done["servicesWithoutInboundUrl"] == [service]
    events = await events_of(store)
    assert [(e.status, e.occurred_at) for e in events[:-1]] == [
        (status, at) for _, status, at in said
    ]
    assert [e.sender for e in events] == [SENDER, SENDER, SENDER, service, SENDER]
    assert {e.source for e in events} == {"twilio.import"}
    assert events[-1].matched_by == "error21610"
    texts = [
        (type(event), event.occurred_at)
        for _, event in await store.read_after(Position(0), 1000)
        if isinstance(event, MessageEvent)
    ]
    assert done["texts"] == 2
    assert sorted(at for kind, at in texts if kind is MessageReceived) == sorted(
        [*(at for _, _, at in said), ago(1), ago(1)]
    )
    assert [at for kind, at in texts if kind is MessageSent] == [ago(0.5)]
    again = await run(apply=True)
    assert (again["recorded"], again["duplicates"], again["texts"]) == (0, 5, 0)


async def test_what_the_webhook_recorded_counts_once(
    run: Run, account: Account, client: Client, store: PostgresEventStore
) -> None:
    """Whatever more it knew of it; and a STOP that it missed comes after its START.

    The webhook has recorded the START at a later time than Twilio's.
    """
    form = text_form("START")
    await text(client, **form)
    heard = {"sid": form["MessageSid"], "to": "+14155550177"}
    add_text(account, "START", NOW - timedelta(seconds=3), **heard)
    missed = add_text(account, "STOP", NOW - timedelta(seconds=2))
    done = await run(apply=True)
    assert (done["recorded"], done["duplicates"]) == (1, 1)
    start, stop = await events_of(store)
    assert (start.source, stop.source) == ("twilio.inbound", "twilio.import")
    assert stop.occurred_at >= start.occurred_at
    assert stop.previous_status == "in"
    assert missed


async def test_what_was_recorded_as_saying_nothing_is_read_anew(
    run: Run,
    ledger: Ledger,
    account: Account,
    handler: CommandHandler,
    store: PostgresEventStore,
) -> None:
    """By today's words, at its own time and to its sender, once, and not the text.

    OptOutType has decided, and the log does not have it; a toll-free YES stays nothing.
    """
    service = f"MG{'5' * 32}"
    log = MessageLog(handler, store, ledger.keyring)
    await heard(log, text_form("START", MessagingServiceSid=service))
    for body, more in (
        ("Genug", {"MessagingServiceSid": service}),
        ("Genug", {"From": OTHER, "OptOutType": "HELP"}),
        ("Ja bitte", {"From": "+14155550143"}),
        ("STOP", {"From": "+14155550144", "To": "+18005550199"}),
        ("YES", {"From": "+14155550144", "To": "+18005550199"}),
    ):
        form = text_form(body, **more)
        await heard(log, form)
        known = {"sid": form["MessageSid"], "from": form["From"], "to": form["To"]}
        add_text(account, body, NOW - timedelta(seconds=3), **known)
    before = await store.last_position()
    nothing = await run(apply=True)
    assert (nothing["recorded"], nothing["duplicates"]) == (0, 2)
    words = {"LEDGER_OUT_WORDS": "Genug", "LEDGER_IN_WORDS": "Ja bitte"}
    more_words = settings_for(
        ledger.dsn,
        LEDGER_TWILIO_API_URL=ledger.settings.twilio_api_url or "",
        LEDGER_RECORD_MESSAGES="true",
        **words,
    )
    anew = ledger._replace(settings=more_words)
    wanted = asked_for(datetime.combine(SINCE, time.min), None, None, None)
    for apply in (False, True):
        done = (await backfilled(anew, wanted, apply=apply)).walked.tally
        assert (done.recorded, done.duplicates) == (2, 3)
    out, into = [event for _, event in await store.read_after(before, 10)]
    assert isinstance(out, ConsentChanged)
    assert isinstance(into, ConsentChanged)
    [(_, said)] = await store.read_after(Position(2), 1)
    assert (out.status, out.previous_status, out.sender) == ("out", "in", service)
    assert (out.occurred_at, into.status) == (said.occurred_at, "in")
    again = (await backfilled(anew, wanted, apply=True)).walked.tally
    assert (again.recorded, again.duplicates) == (0, 5)


async def test_an_opt_out_is_not_read_as_an_opt_in_later(
    ledger: Ledger, handler: CommandHandler, store: PostgresEventStore
) -> None:
    """Whichever word it has become; an opt-in is read as an opt-out, in doubt."""
    form = text_form("Schluss")
    await heard(MessageLog(handler, store, ledger.keyring), form)
    in_order = InOrder(Recording(handler, Once()), handler, store)
    sink = Rereading(in_order, handler, store, ledger.keyring)
    key = f"twilio:{ACCOUNT_SID}:{form['MessageSid']}"
    said = [signal(key=key, status=status) for status in ("in", "out", "in")]
    assert await sink.take(said[:1]) == ["recorded"]
    assert await sink.take(said[1:2]) == ["recorded"]
    assert await sink.take(said[2:]) == ["duplicate"]
    assert [event.status for event in await events_of(store)] == ["in", "out"]


async def test_a_refusal_that_was_heard_without_its_error_is_a_block(
    run: Run, account: Account, handler: CommandHandler, ledger: Ledger
) -> None:
    """Twilio's log tells it; and not again where it was told by another state."""
    blocked = {"direction": "outbound-api", "status": "failed", "error_code": 21610}
    own = {"from": SENDER, "to": OTHER}
    silent = add_text(account, "news", ago(1), **own | blocked)
    told = add_text(account, "news", ago(0.5), **own | blocked)
    log = MessageLog(handler, ledger.store, ledger.keyring)
    for sid, status, code in ((silent, "failed", ""), (told, "undelivered", "21610")):
        form = {"MessageSid": sid, "AccountSid": ACCOUNT_SID, "To": OTHER}
        form |= {"From": SENDER, "MessageStatus": status, "ErrorCode": code}
        message_id = await log.message_id(f"{ACCOUNT_SID}:{sid}")
        await log.record(parse_status([*form.items()]).report(message_id))
    done = await run(apply=True)
    assert (done["recorded"], done["duplicates"]) == (1, 1)
    told_of, read = await events_of(ledger.store)
    assert (told_of.source, read.source) == ("twilio.status", "twilio.import")
    again = await run(apply=True)
    assert (again["recorded"], again["duplicates"]) == (0, 2)


async def test_a_number_or_a_service_can_be_asked_for(
    run: Run, account: Account, store: PostgresEventStore
) -> None:
    """A number: texts to it, refusals from it. A service: its numbers' texts, too."""
    pooled = add_number(account, "+14155550111")
    service = add_service(account, pooled)
    refused = {"direction": "outbound-api", "status": "failed", "error_code": 21610}
    add_text(account, "STOP", ago(2), to=SENDER)
    add_text(account, "x", ago(2), to=OTHER, **{"from": SENDER} | refused)
    add_text(account, "STOP", ago(2), to="+14155550111")
    add_text(account, "STOP", ago(1), messaging_service_sid=service)
    in_service = {"messaging_service_sid": service, "from": None}
    add_text(account, "x", ago(1), to=OTHER, **in_service | refused)
    assert (await run(apply=True, to=SENDER))["recorded"] == 3
    done = await run(apply=True, service=service)
    assert (done["recorded"], done["duplicates"]) == (2, 1)
    senders = [event.sender for event in await events_of(store)]
    assert senders[-2:] == ["+14155550111", service]


async def test_a_fault_of_twilio_s_is_a_clear_error_and_nothing_is_lost(
    ledger: Ledger, standin: StandIn, account: Account, pauses: Pauses
) -> None:
    """Half an answer, no answer, a storm of 429: the same command then completes it.

    What does not pass by waiting ends the command, with Twilio's own code.
    """
    add_text(account, "STOP", ago(1))
    passing = (faults.cut, faults.down, faults.busy, faults.gateway, faults.portal)
    for fault in passing:
        standin.fail(fault, times=4)
        with pytest.raises(TwilioUnavailable):
            await walked(ledger, pauses)
        standin.mend()
    for refusal in (faults.suspended, faults.refused):
        standin.fail(refusal)
        with pytest.raises(TwilioRefused):
            await walked(ledger, pauses)
    standin.fail(faults.busy, times=3)
    walk = await walked(ledger, pauses)
    assert (walk.walked.tally.recorded, walk.walked.resumed_from) == (1, None)


async def test_a_walk_goes_on_where_it_was_stopped(
    ledger: Ledger, standin: StandIn, account: Account, pauses: Pauses
) -> None:
    """Its days are not read again; one that was finished begins anew."""
    for day in range(5):
        add_text(account, "STOP", ago(day), **{"from": f"+1415555010{day}"})
    first = await walked(ledger, pauses, days=2)
    assert (first.walked.days, first.walked.tally.is_whole) == (2, False)
    calls = len(standin.received)
    again = await walked(ledger, pauses)
    assert len(standin.received) == calls + 3
    assert again.walked.resumed_from == SINCE + timedelta(days=2)
    tallies = (first.walked.tally, again.walked.tally)
    assert [tally.recorded for tally in tallies] == [2, 3]
    anew = await walked(ledger, pauses)
    assert (anew.walked.resumed_from, anew.walked.tally.duplicates) == (None, 5)


async def walked(ledger: Ledger, pauses: Pauses, *, days: int | None = None) -> Walk:
    """A walk, stopped by Ctrl-C after so many days."""
    stopping = asyncio.Event()
    handler = CommandHandler(ledger.store, ledger.keyring, ledger.settings)
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if done == days:
            stopping.set()

    async with open_account(ledger.settings, pause=pauses) as opened:
        sink = InOrder(Recording(handler, Once()), handler, ledger.store)
        log = MessageLog(handler, ledger.store, ledger.keyring)
        walk = Walk(opened, Scope(), ledger.settings.vocabulary(), sink, log)
        place = Kept(ledger.pool, ACCOUNT_SID, "test")
        await walk.run(SINCE, place, stopping, advance)
    return walk


async def test_a_command_that_was_killed_is_completed_by_the_next(
    dsn: str,
    standin: StandIn,
    account: Account,
    tmp_path: Path,
    connection: Connection,
) -> None:
    """Whatever had been recorded: after the second run each text is there, once."""
    days = 300
    for day in range(days):
        add_text(account, "STOP", ago(day), **{"from": f"+14155550{day:03}"})
    environment = environment_for(tmp_path, free_port()) | {
        "DATABASE_URL": dsn,
        "LEDGER_MASTER_KEY": MASTER_KEY,
        "TWILIO_ACCOUNT_SID": ACCOUNT_SID,
        "TWILIO_AUTH_TOKEN": AUTH_TOKEN,
        "LEDGER_TWILIO_API_URL": standin.url,
    }
    since = str((NOW - timedelta(days=days)).date())
    command = (COMMAND, "import", "twilio", "--since", since, "--apply", "--json")
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    first = await asyncio.create_subprocess_exec(*command, env=environment, **pipes)

    async def has_begun() -> bool:
        count = await connection.fetchval(CONSENTS)
        return int(count) > 3

    await eventually(has_begun)
    first.kill()
    await first.wait()
    before = await connection.fetchval(CONSENTS)
    assert before < days
    again = await asyncio.create_subprocess_exec(*command, env=environment, **pipes)
    out, _ = await again.communicate()
    report = json.loads(out)
    assert (again.returncode, report["complete"]) == (0, True)
    assert report["resumedFrom"] > since
    assert report["duplicates"] <= 1
    assert await connection.fetchval(CONSENTS) == days
