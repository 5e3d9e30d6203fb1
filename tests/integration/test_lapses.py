"""A number that was deactivated: what was ``in`` is ``unknown``, wherever one asks."""

from datetime import UTC, datetime, timedelta
from typing import Any

from api_steps import ask, path_of, text
from builders import MASTERS, NUMBER, SENDER, bearer, signal
from conftest import CatchUp, Client

from ledger.command_handler import CommandHandler
from ledger.domain.events import ConsentLapsed
from ledger.domain.ids import EVERY_SENDER, PhoneNumber, Position, Sender
from ledger.erasure import Erasures
from ledger.lapses import Lapses
from ledger.replay import tell
from ledger.store.database import Pool
from ledger.store.keyring import Keyring
from ledger.store.postgres import PostgresEventStore
from projections.app import PROJECTIONS
from projections.check import Check

OTHER = Sender("MG1")
STRANGER = PhoneNumber("+14155550142")
ACTOR = "cli:cron"


def said(status: str, days_ago: float, sender: str = SENDER) -> Any:
    """What the number said, some days ago."""
    at = datetime.now(UTC) - timedelta(days=days_ago)
    return signal(status=status, sender=sender, occurred_at=at)


async def checked(client: Client, sender: str | None, **more: str) -> tuple[Any, Any]:
    """Status and position of the number in a list."""
    asked = {"phoneNumbers": [NUMBER], "sender": sender, **more}
    answer = await client.post("/PhoneNumbers/check", json=asked, headers=bearer())
    [result] = (await answer.json())["results"]
    return result["status"], result["position"]


async def test_every_answer_says_unknown_from_then_on(
    client: Client,
    handler: CommandHandler,
    store: PostgresEventStore,
    keyring: Keyring,
    catch_up: CatchUp,
) -> None:
    """The record, lists, checks, the past, the history and the replay; and not before.

    A consent that is given afterwards holds.
    """
    lapses = Lapses(store, handler)
    await handler.handle(said("in", 9))
    await handler.handle(said("in", 9, OTHER))
    at = datetime.now(UTC) - timedelta(days=3)
    assert await lapses.record([NUMBER, STRANGER], at, actor=ACTOR) == 1
    assert await lapses.record([NUMBER], at, actor=ACTOR) == 0
    await catch_up()
    shown = await ask(client)
    assert (shown["status"], shown["position"], shown["version"]) == ("unknown", 3, 3)
    assert datetime.fromisoformat(shown["since"]) == at
    senders = [(s["sender"], s["status"], s["position"]) for s in shown["senders"]]
    assert senders == [(SENDER, "unknown", 1), (OTHER, "unknown", 2)]
    for sender in (SENDER, OTHER, "MG2"):
        one = await ask(client, path_of(rest=f"?sender={sender.replace('+', '%2B')}"))
        assert one["status"] == "unknown"
    assert await checked(client, None) == ("unknown", 3)
    assert await checked(client, SENDER) == ("unknown", 3)
    before = (at - timedelta(days=1)).isoformat()
    assert await checked(client, SENDER, asOf=before) == ("in", 1)
    [listed] = await ask(client, "/PhoneNumbers/?status=unknown")
    assert (listed["phoneNumber"], listed["position"]) == (NUMBER, 3)
    assert await ask(client, "/PhoneNumbers/?status=in") == []
    assert len(await ask(client, f"/PhoneNumbers/?sender={OTHER}&status=unknown")) == 1
    past = await ask(client, path_of(rest=f"?asOf={before.replace('+', '%2B')}"))
    assert (past["status"], past["endedBy"]["position"]) == ("in", 3)
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    today = await ask(client, path_of(rest=f"?asOf={now}"))
    assert (today["status"], today["decidedBy"]["matchedBy"]) == (
        "unknown",
        "deactivated",
    )
    history = await ask(client, path_of(rest="/history"))
    lapsed = history["events"][-1]
    assert (lapsed["sender"], lapsed["status"], lapsed["previousStatus"]) == (
        EVERY_SENDER,
        "unknown",
        "in",
    )
    assert "evidence" not in lapsed
    assert history["events"][0]["evidence"]
    story = await tell(store, keyring, NUMBER)
    assert (story.overall.status, story.overall.position) == ("unknown", 3)
    assert {held.status for held in story.senders.values()} == {"unknown"}
    await handler.handle(said("in", 0))
    await catch_up()
    assert (await ask(client))["status"] == "in"
    assert await checked(client, SENDER) == ("in", 4)
    assert await checked(client, OTHER) == ("unknown", 3)


async def test_an_out_stays_whenever_it_becomes_known(
    client: Client,
    handler: CommandHandler,
    store: PostgresEventStore,
    catch_up: CatchUp,
    pool: Pool,
) -> None:
    """Before the lapse, or imported after it from before it; and the rows are a fold's.

    An opt-in that is imported later from before it has lapsed already.
    """
    lapses = Lapses(store, handler)
    await handler.handle(said("in", 9))
    await handler.handle(said("out", 8, OTHER))
    at = datetime.now(UTC) - timedelta(days=3)
    assert await lapses.record([NUMBER], at, actor=ACTOR) == 1
    await catch_up()
    assert (await ask(client))["status"] == "out"
    assert await checked(client, SENDER) == ("out", 2)
    await handler.handle(said("out", 7))
    await handler.handle(said("in", 6, "MG2"))
    await handler.handle(said("in", 5, EVERY_SENDER))
    await catch_up()
    senders = {s["sender"]: s["status"] for s in (await ask(client))["senders"]}
    assert senders == dict.fromkeys((EVERY_SENDER, SENDER, OTHER, "MG2"), "unknown")
    await handler.handle(said("out", 4, OTHER))
    await text(client)
    await catch_up()
    assert await checked(client, SENDER) == ("out", 8)
    assert await checked(client, OTHER) == ("out", 7)
    assert await checked(client, "MG2") == ("out", 8)
    assert await lapses.record([NUMBER], datetime.now(UTC), actor=ACTOR) == 0
    check = Check(pool, MASTERS, PROJECTIONS)
    report = await check.run(await check.begin(1, None))
    assert not report.differences


async def test_what_is_recorded_is_an_event_of_nobody_s(
    handler: CommandHandler, store: PostgresEventStore, erasures: Erasures
) -> None:
    """Whoever is out, erased or unknown has nothing that could lapse."""
    lapses = Lapses(store, handler)
    now = datetime.now(UTC)
    await handler.handle(said("out", 2))
    assert await lapses.record([NUMBER], now, actor=ACTOR) == 0
    await erasures.erase(NUMBER, reason="asked", actor="key:office")
    assert await lapses.record([NUMBER], now, actor=ACTOR) == 0
    await handler.handle(said("in", 1))
    assert await lapses.record([NUMBER], now, actor=ACTOR) == 1
    *_, (_, event) = await store.read_after(Position(0), 10)
    assert isinstance(event, ConsentLapsed)
    assert (event.previous_status, event.actor) == ("in", ACTOR)
    assert event.occurred_at == now
