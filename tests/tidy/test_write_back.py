"""The page that writes opt-outs back to a study: its receiver, run as it stands."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, Final

import pytest
from aiohttp.test_utils import TestServer
from api_steps import record, text
from builders import NUMBER
from conftest import Client, settings_for
from notice_receivers import OTHER_SECRET, SECRET, receiving
from redcap import TOKEN, RedCap, redcap
from tidy.repository import blocks, page

from ledger.domain.ids import PhoneNumber
from ledger.errors import NoticeUndelivered
from ledger.notifying.follower import Follower
from ledger.notifying.url import UrlChannel
from ledger.settings import Settings
from ledger.store.database import Pool
from ledger.store.keyring import Keyring
from ledger.store.postgres import PostgresEventStore

PAGE: Final = "how-to/write-back-to-a-study.md"
OTHER: Final = PhoneNumber("+442071838750")
FIELD: Final = "sms_opt_out"

Start = Callable[..., Awaitable[Follower]]


@pytest.fixture
def settings(dsn: str) -> Settings:
    """No projector runs: what waits for one waits in vain."""
    return settings_for(dsn, LEDGER_WAIT_SECONDS_MAX="0.05")


@pytest.fixture
async def study() -> AsyncIterator[RedCap]:
    """A project: two records of one person, one of another, one of nobody."""
    async with redcap() as project:
        project.rows = [
            {"record_id": "1", "phone": "(415) 555-0100"},
            {"record_id": "2", "phone": "+442071838750"},
            {"record_id": "3", "phone": NUMBER},
            {"record_id": "4", "phone": ""},
        ]
        yield project


@pytest.fixture
async def start(
    pool: Pool, store: PostgresEventStore, keyring: Keyring, study: RedCap
) -> AsyncIterator[Start]:
    """Starts the page's receiver, and what tells it of the ledger's changes."""
    [source] = blocks(page(PAGE), "python")
    example: dict[str, Any] = {"__name__": "receiver"}
    exec(compile(source, PAGE, "exec"), example)  # noqa: S102
    stack = AsyncExitStack()

    async def started(*, signed_with: str = SECRET, **more: str) -> Follower:
        settings = {"REDCAP_URL": study.url, "REDCAP_TOKEN": TOKEN} | more
        app = example["receiver"](settings | {"LEDGER_NOTIFY_SECRET": SECRET})
        server = await stack.enter_async_context(TestServer(app))
        url = str(server.make_url("/consent"))
        channel = UrlChannel(url, [signed_with], timeout_seconds=5)
        await stack.enter_async_context(channel)
        follower = Follower(pool, store, keyring, channel)
        await follower.run_once()
        return follower

    async with stack:
        yield started


async def test_an_opt_out_stands_in_every_record_until_an_opt_in(
    client: Client, start: Start, study: RedCap
) -> None:
    """Its time, in every record with that number; an opt-in empties the field."""
    follower = await start()
    consent = {"status": "out", "sender": "*", "occurredAt": "2026-01-31T22:30:00Z"}
    await record(client, consent)
    await text(client, "START", From=OTHER)
    assert await follower.run_once() == 2
    at = "2026-01-31 22:30:00"
    assert study.values(FIELD) == [at, "", at, ""]
    # Out all the same, and for the first time's reason.
    await text(client, "START")
    await record(client, {"status": "out", "sender": "+14155550198"})
    await follower.run_once()
    await record(client, {"status": "in", "sender": "*"})
    await follower.run_once()
    assert study.values(FIELD) == ["", "", "", ""]


async def test_the_time_is_that_of_the_study(
    client: Client, start: Start, study: RedCap
) -> None:
    """And it may stand in another event of the project than the number."""
    study.rows = [
        {"record_id": "1", "redcap_event_name": "enrol_arm_1", "phone": NUMBER},
        {"record_id": "1", "redcap_event_name": "visit_arm_1"},
    ]
    follower = await start(
        REDCAP_TIMEZONE="America/Los_Angeles",
        REDCAP_PHONE_EVENT="enrol_arm_1",
        REDCAP_OPT_OUT_EVENT="visit_arm_1",
    )
    consent = {"status": "out", "sender": "*", "occurredAt": "2026-01-31T22:30:00Z"}
    await record(client, consent)
    assert await follower.run_once() == 1
    assert study.values(FIELD) == ["", "2026-01-31 14:30:00"]


async def test_a_redcap_that_is_down_gets_it_later(
    client: Client, start: Start, study: RedCap
) -> None:
    """The receiver says so, and the ledger comes again."""
    follower = await start()
    study.is_down = True
    await text(client, "STOP")
    with pytest.raises(NoticeUndelivered, match="answered 503"):
        await follower.run_once()
    study.is_down = False
    assert await follower.run_once() == 1
    assert [bool(value) for value in study.values(FIELD)] == [True, False, True, False]


async def test_a_forged_notice_is_refused(
    client: Client, start: Start, study: RedCap
) -> None:
    """Who does not have the secret writes nothing into the study."""
    follower = await start(signed_with=OTHER_SECRET)
    await text(client, "STOP")
    with pytest.raises(NoticeUndelivered, match="answered 401"):
        await follower.run_once()
    assert study.values(FIELD) == ["", "", "", ""]


async def test_what_is_posted_is_as_the_page_shows(
    client: Client, pool: Pool, store: PostgresEventStore, keyring: Keyring
) -> None:
    """With these names, in this order."""
    [shown] = blocks(page(PAGE), "json")
    async with (
        receiving() as receiver,
        UrlChannel(receiver.url, [SECRET], timeout_seconds=5) as channel,
    ):
        follower = Follower(pool, store, keyring, channel)
        await follower.run_once()
        await text(client, "STOP")
        await follower.run_once()
    [posted] = receiver.taken
    expected = json.loads(shown)
    assert [*posted] == [*expected]
    assert [*posted["senders"][0]] == [*expected["senders"][0]]
    assert len(posted["id"]) == len(expected["id"])
