"""A receipt shows what was asked and answered, and gives nobody's number away."""

import hashlib
import hmac
import json
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from api_steps import count_events, key_of, refusal
from builders import NUMBER, SENDER, bearer, signal
from conftest import CatchUp, Client

from ledger.command_handler import CommandHandler
from ledger.domain.events import ConsentChecked
from ledger.domain.ids import Position
from ledger.event_record import record_types
from ledger.store.database import Connection
from ledger.store.postgres import PostgresEventStore

CHECK = "/PhoneNumbers/check"
ASKED = json.dumps({"phoneNumbers": [NUMBER, "x"], "sender": SENDER, "record": True})
JSON = {"Content-Type": "application/json"}
NOWHERE = "00000000-0000-4000-8000-000000000000"


async def recorded(client: Client, **headers: str) -> bytes:
    """An answer with a receipt, byte for byte."""
    given = bearer() | JSON | headers
    response = await client.post(CHECK, data=ASKED, headers=given)
    assert response.status == 200, await response.text()
    return await response.read()


async def verdict(client: Client, receipt: str, saved: bytes, **headers: str) -> Any:
    """Whether what was saved is what is kept."""
    response = await client.post(
        f"/checks/{receipt}/verify", data=saved, headers=bearer() | headers
    )
    assert response.status == 200, await response.text()
    return await response.json()


async def test_who_asked_what_is_kept_and_nothing_personal(
    client: Client,
    handler: CommandHandler,
    store: PostgresEventStore,
    connection: Connection,
    catch_up: CatchUp,
) -> None:
    """One event on a stream of its own; number and salt are in the answer alone."""
    await handler.handle(signal())
    await catch_up()
    answer = json.loads(body := await recorded(client))
    receipt, salt = answer["receipt"]["id"], answer["receipt"]["salt"]
    [(position, event)] = await store.read_after(Position(1), 10)
    assert isinstance(event, ConsentChecked)
    assert (position, event.originator_id, event.version) == (2, UUID(receipt), 1)
    assert (event.actor, event.sender, event.numbers) == (
        *("key:LEDGER_ADMIN_KEY", SENDER),
        2,
    )
    assert (event.read_position, event.as_of, event.known_at) == (1, None, None)
    assert event.answer_digest == hashlib.sha256(body).hexdigest()
    asked = hmac.digest(bytes.fromhex(salt), ASKED.encode(), "sha256").hex()
    assert event.request_digest == asked
    stored = await connection.fetchval(
        "SELECT state FROM ledger_events WHERE notification_id = 2"
    )
    assert salt.encode() not in stored
    assert NUMBER[1:].encode() not in stored


async def test_a_receipt_is_got_back_and_verifies_what_was_saved(
    client: Client, connection: Connection
) -> None:
    """Byte for byte, the answer and the request; for auditors."""
    answer = await recorded(client)
    receipt, salt = json.loads(answer)["receipt"].values()
    auditor = bearer(await key_of(connection, "auditor"))
    response = await client.get(f"/checks/{receipt}", headers=auditor)
    shown = await response.json()
    assert (shown["receipt"], shown["numbers"]) == (receipt, 2)
    assert shown["answerDigest"] == hashlib.sha256(answer).hexdigest()
    assert await verdict(client, receipt, answer) == {
        "receipt": receipt,
        "part": "answer",
        "matches": True,
    }
    assert not (await verdict(client, receipt, answer + b"\n"))["matches"]
    salted = {"Receipt-Salt": salt}
    asked = await verdict(client, receipt, ASKED.encode(), **salted)
    assert (asked["part"], asked["matches"]) == ("request", True)
    assert not (await verdict(client, receipt, answer, **salted))["matches"]


async def test_a_table_has_its_receipt_in_the_first_row(client: Client) -> None:
    """So its bytes are safe with their digest, too."""
    answer = await recorded(client, Accept="text/csv")
    header, first, second = answer.decode().splitlines()
    assert header.endswith(",receipt,salt")
    receipt, salt = first.split(",")[-2:]
    assert len(salt) == 32
    assert second.endswith(",,")
    assert (await verdict(client, receipt, answer))["matches"]


async def test_what_cannot_be_recorded_is_not_answered(
    client: Client, connection: Connection, catch_up: CatchUp
) -> None:
    """Nobody has an answer of which the ledger knows nothing."""
    await catch_up()
    await recorded(client)
    await connection.execute(
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "RAISE EXCEPTION 'full' USING ERRCODE = 'disk_full'; END $$;"
        "CREATE TRIGGER fail BEFORE INSERT ON ledger_events "
        "FOR EACH ROW EXECUTE FUNCTION fail()"
    )
    response = await client.post(CHECK, data=ASKED, headers=bearer() | JSON)
    assert await refusal(response) == (503, "store_unavailable")
    assert await count_events(connection) == 1


@pytest.mark.parametrize("path", [NOWHERE, "x", "%00", NUMBER])
async def test_a_receipt_that_is_none_is_not_found(client: Client, path: str) -> None:
    """Whatever its id looks like."""
    for answer in (
        client.get(f"/checks/{path}", headers=bearer()),
        client.post(f"/checks/{path}/verify", headers=bearer()),
    ):
        assert await refusal(await answer) == (404, "not_found")


async def test_a_person_is_no_receipt(
    client: Client, handler: CommandHandler, connection: Connection
) -> None:
    """The id of another stream finds nothing."""
    await handler.handle(signal())
    subject = await connection.fetchval("SELECT originator_id FROM ledger_events")
    response = await client.get(f"/checks/{subject}", headers=bearer())
    assert await refusal(response) == (404, "not_found")


async def test_who_reads_a_receipt_is_logged(
    client: Client, connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    """By the key's name and the receipt's position; each time."""
    answer = await recorded(client)
    receipt = json.loads(answer)["receipt"]["id"]
    auditor = bearer(await key_of(connection, "auditor"))
    await client.get(f"/checks/{receipt}", headers=auditor)
    await verdict(client, receipt, answer)
    lines = [vars(r) for r in caplog.records if r.name == "ledger.reads"]
    assert [(line["reader"], line["route"], line["position"]) for line in lines] == [
        ("auditor", "/checks/{receipt}", 1),
        ("LEDGER_ADMIN_KEY", "/checks/{receipt}/verify", 1),
    ]


def test_an_export_has_a_receipts_numbers_and_times_as_such() -> None:
    """Though they may be missing, or have a name of their own."""
    types = record_types()
    assert (types["readPosition"], types["numbers"]) == (int, int)
    assert (types["asOf"], types["knownAt"]) == (datetime, datetime)
    assert (types["answerDigest"], types["region"]) == (str, str)


async def test_receipts_are_for_auditors(
    client: Client, connection: Connection
) -> None:
    """Who may ask for numbers need not know who else did."""
    reader = bearer(await key_of(connection, "reader"))
    response = await client.get(f"/checks/{NOWHERE}", headers=reader)
    assert await refusal(response) == (403, "forbidden")
    response = await client.post(f"/checks/{NOWHERE}/verify", headers=reader)
    assert await refusal(response) == (403, "forbidden")


async def test_a_salt_must_be_one(client: Client) -> None:
    """A mistyped one is no proof that a request is another."""
    receipt = json.loads(await recorded(client))["receipt"]["id"]
    for salt in ("", "x", "0" * 31, "G" * 32):
        response = await client.post(
            f"/checks/{receipt}/verify", headers=bearer() | {"Receipt-Salt": salt}
        )
        assert await refusal(response) == (400, "invalid_request")


async def test_projections_pass_over_receipts(
    client: Client, handler: CommandHandler, connection: Connection, catch_up: CatchUp
) -> None:
    """They move on, and make no row of them."""
    await recorded(client)
    await handler.handle(signal())
    await recorded(client)
    await catch_up()
    rows = await connection.fetch("SELECT name, position FROM projections")
    assert {row["position"] for row in rows} == {3}
    for table in ("phone_numbers_v1", "consent_history_v1"):
        count = await connection.fetchval(f"SELECT count(*) FROM {table}")  # noqa: S608
        assert count == 1, table


async def test_receipts_are_append_only(client: Client, connection: Connection) -> None:
    """Nobody can take one back."""
    await recorded(client)
    with pytest.raises(asyncpg.RestrictViolationError):
        await connection.execute("DELETE FROM ledger_events")
