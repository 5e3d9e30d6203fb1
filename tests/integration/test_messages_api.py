"""``GET /Messages``: who may see which texts, in pages that stay as they are."""

import logging
from typing import Any, Final

import pytest
from api_steps import key_of
from builders import NUMBER, SENDER, bearer, signal
from conftest import CatchUp, Client
from message_steps import a_text, a_wish, status, taken
from yarl import URL

from ledger.command_handler import CommandHandler
from ledger.domain.ids import PhoneNumber
from ledger.erasure import Erasures
from ledger.message_log import MessageLog
from ledger.store.database import Connection
from ledger.store.keyring import Keyring
from ledger.store.postgres import PostgresEventStore

OTHER: Final = PhoneNumber("+14155550101")
SERVICE_ADDRESS: Final = "+14155550198"
SID: Final = "SM9"


@pytest.fixture
def log(
    handler: CommandHandler, store: PostgresEventStore, keyring: Keyring
) -> MessageLog:
    """The log of texts."""
    return MessageLog(handler, store, keyring)


@pytest.fixture
async def everything(log: MessageLog, catch_up: CatchUp) -> None:
    """Texts of two people, in and out, and the consent of one."""
    await log.record(a_text("SM1"))
    await log.record(a_text("SM2", phone_number=OTHER, address=SERVICE_ADDRESS))
    await log.record(signal(status="in"))
    await log.record(a_text("SM3", says="in"))
    await log.record(a_wish())
    await log.record(taken(sid=SID))
    await log.record(await status(log, "delivered"))
    await catch_up()


async def ask(client: Client, path: str, key: dict[str, str] | None = None) -> Any:
    """What is answered, which must be 200."""
    answer = await client.get(path, headers=key or bearer())
    assert answer.status == 200, await answer.text()
    return await answer.json()


@pytest.mark.usefixtures("everything")
@pytest.mark.parametrize(
    ("query", "sids"),
    [
        ("", [SID, "SM3", "SM2", "SM1"]),
        ("direction=incoming", ["SM3", "SM2", "SM1"]),
        ("direction=outgoing", [SID]),
        (f"counterparty=%2B{NUMBER[1:]}", [SID, "SM3", "SM1"]),
        (f"counterparty=whatsapp:%2B{OTHER[1:]}", ["SM2"]),
        (f"to=%2B{NUMBER[1:]}", [SID]),
        (f"to=whatsapp:%2B{NUMBER[1:]}", [SID]),
        (f"to=%2B{SENDER[1:]}", ["SM3", "SM1"]),
        (f"from=%2B{NUMBER[1:]}", ["SM3", "SM1"]),
        (f"from=%2B{SENDER[1:]}&to=%2B{NUMBER[1:]}", [SID]),
        (f"from=%2B{OTHER[1:]}&to=%2B{SENDER[1:]}", []),
        (f"from=%2B{OTHER[1:]}&to=%2B{SERVICE_ADDRESS[1:]}", ["SM2"]),
        (f"counterparty=%2B{NUMBER[1:]}&from=%2B{OTHER[1:]}", []),
        ("limit=2", [SID, "SM3"]),
    ],
)
async def test_texts_are_found_by_either_end(
    client: Client, query: str, sids: list[str]
) -> None:
    """The newest first, without bodies."""
    found = await ask(client, f"/Messages?{query}")
    assert [each["sid"] for each in found] == sids
    assert all("body" not in each for each in found)


@pytest.mark.usefixtures("everything")
async def test_a_page_goes_on_whatever_comes(
    client: Client, log: MessageLog, catch_up: CatchUp
) -> None:
    """Neither a new text nor a new status moves what is on the next one."""
    path, seen = "/Messages?limit=1", []
    while path:
        answer = await client.get(path, headers=bearer())
        seen += [each["sid"] for each in await answer.json()]
        link = answer.links.get("next")
        path = URL(link["url"]).path_qs if link else ""
        await log.record(a_text(f"SMnew{len(seen)}"))
        await log.record(await status(log, ("sent", "read", "queued")[len(seen) % 3]))
        await catch_up()
    assert seen == [SID, "SM3", "SM2", "SM1"]


@pytest.mark.usefixtures("everything")
async def test_a_text_is_read_with_its_body_by_auditors_alone(
    client: Client, connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    """And that is logged; the body of a STOP is in its consent event."""
    with caplog.at_level(logging.INFO, logger="ledger.reads"):
        reader = bearer(await key_of(connection, "reader"))
        plain = await ask(client, f"/Messages/{SID}", reader)
        assert plain["status"] == "delivered"
        assert "body" not in plain
        assert caplog.records == []
        auditor = bearer(await key_of(connection, "auditor"))
        told = await ask(client, f"/Messages/{SID}", auditor)
    assert told["body"] == "Your order"
    assert [event["kind"] for event in told["events"]] == [
        "MessageRequested",
        "MessageSent",
        "MessageStatusChanged",
    ]
    [line] = caplog.records
    assert line.__dict__["message_id"] == told["id"]
    assert (await ask(client, "/Messages/SM3"))["body"] == "in"
    assert (await ask(client, f"/Messages/{told['id']}"))["sid"] == SID


@pytest.mark.usefixtures("everything")
async def test_of_who_was_erased_there_is_no_text(
    client: Client, erasures: Erasures
) -> None:
    """At once; nobody else's is gone."""
    await erasures.erase(NUMBER, reason="a request", actor="key:office")
    assert [each["sid"] for each in await ask(client, "/Messages")] == ["SM2"]
    gone = await client.get(f"/Messages/{SID}", headers=bearer())
    assert gone.status == 404


@pytest.mark.parametrize(
    ("path", "status_", "code"),
    [
        ("/Messages?direction=up", 400, "invalid_value"),
        ("/Messages?limit=0", 400, "invalid_limit"),
        ("/Messages?limit=1001", 400, "invalid_limit"),
        ("/Messages?limit=x", 400, "invalid_limit"),
        ("/Messages?cursor=x", 400, "invalid_cursor"),
        ("/Messages?cursor=%C3%A9", 400, "invalid_cursor"),
        ("/Messages?to=", 400, "invalid_query"),
        ("/Messages?to=%00", 400, "invalid_query"),
        ("/Messages?body=x", 400, "invalid_query"),
        ("/Messages?to=1&to=2", 400, "invalid_query"),
        ("/Messages/SM404", 404, "not_found"),
        ("/Messages/%00", 404, "not_found"),
        ("/Messages/6ba7b810-9dad-11d1-80b4-00c04fd430c8", 404, "not_found"),
    ],
)
async def test_what_cannot_be_answered_is_refused(
    client: Client, path: str, status_: int, code: str
) -> None:
    """With a code that says what to change."""
    answer = await client.get(path, headers=bearer())
    assert (answer.status, (await answer.json())["code"]) == (status_, code)
    assert (await client.get(path)).status == 401
