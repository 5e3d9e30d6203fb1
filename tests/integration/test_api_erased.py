"""What ``GET`` answers of a number that was erased, and of who comes back."""

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Self

import pytest
from api_steps import ask, key_of, path_of, record, refusal, text
from builders import NUMBER, SENDER, bearer
from conftest import CatchUp, Client

from ledger.erasure import Erasures
from ledger.store.database import Connection
from ledger.store.keyring import Keyring

OTHER = "+14155550188"
HISTORY = path_of(rest="/history")
JSON_PATHS = (path_of(), HISTORY)


class Yesterday(datetime):
    """A clock that is a day late."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        """Yesterday, at this time."""
        return super().now(tz) - timedelta(days=1)


async def erase(erasures: Erasures) -> int:
    """Erase the number; the position of the event that says so."""
    erased = await erasures.erase(NUMBER, reason="a test", actor="test")
    return erased.position


async def sender_of(client: Client, sender: str) -> dict[str, Any]:
    """What the number says to one sender."""
    found: dict[str, Any] = await ask(client, path_of(rest=f"?sender=%2B{sender[1:]}"))
    return found


async def test_what_is_older_than_the_stop_that_an_erasure_left_undoes_nothing(
    client: Client, catch_up: CatchUp, erasures: Erasures, connection: Connection
) -> None:
    """An import may bring it afterwards: newest wins, and it is not the newest."""
    await text(client, "STOP")
    await catch_up()
    since = (await ask(client))["since"]
    position = await erase(erasures)
    for at in ("2020-01-01T00:00:00Z", since):
        consent = {"status": "in", "sender": SENDER, "occurredAt": at}
        response = await record(client, consent)
        assert response.status == 200
        assert (await response.json())["status"] == "out"
    assert await connection.fetchval("SELECT position FROM ledger_position") == position
    assert (await sender_of(client, SENDER))["status"] == "out"


async def test_who_was_out_is_out_after_the_erasure(
    client: Client, catch_up: CatchUp, erasures: Erasures
) -> None:
    """Since then, and for every sender; and the answer says that it is erased."""
    await text(client, "STOP")
    await catch_up()
    since = (await ask(client))["since"]
    assert await erase(erasures) == 2
    for _ in range(2):
        assert await ask(client) == {
            "phoneNumber": NUMBER,
            "status": "out",
            "since": since,
            "position": 2,
            "version": 0,
            "senders": [],
            "erased": True,
        }
        for sender in (SENDER, OTHER):
            found = await sender_of(client, sender)
            assert found["status"] == "out"
            assert found["erased"] is True
        await catch_up()


async def test_who_was_in_is_unknown_after_the_erasure(
    client: Client, catch_up: CatchUp, erasures: Erasures
) -> None:
    """Nothing stays of a consent but that there was one."""
    await text(client, "START")
    await catch_up()
    await erase(erasures)
    found = await ask(client)
    assert (found["status"], found["since"], found["erased"]) == ("unknown", None, True)
    assert (await sender_of(client, SENDER))["status"] == "unknown"


@pytest.mark.parametrize("body", ["STOP", "START"])
async def test_an_erased_history_is_empty(
    client: Client, catch_up: CatchUp, erasures: Erasures, body: str
) -> None:
    """And says why, before the projections know of it and after."""
    await text(client, body)
    await catch_up()
    await erase(erasures)
    for _ in range(2):
        expected = {"phoneNumber": NUMBER, "events": [], "erased": True}
        assert await ask(client, HISTORY) == expected
        await catch_up()


async def test_rows_of_a_projector_that_is_behind_do_not_count(
    client: Client, catch_up: CatchUp, erasures: Erasures, connection: Connection
) -> None:
    """Though it has written them after the erasure."""
    await text(client, "START")
    await catch_up()
    rows = {
        table: await connection.fetch(f"SELECT * FROM {table}")  # noqa: S608
        for table in ("phone_numbers_v1", "consent_history_v1")
    }
    await erase(erasures)
    for table, found in rows.items():
        await connection.copy_records_to_table(table, records=map(tuple, found))
    assert (await ask(client))["erased"] is True
    assert (await ask(client, HISTORY))["events"] == []


async def test_who_comes_back_has_a_record_that_begins_anew(
    client: Client, catch_up: CatchUp, erasures: Erasures
) -> None:
    """With what was said since, and out where nothing was: doubt is a no."""
    await text(client, "STOP")
    await erase(erasures)
    await text(client, "START")
    await catch_up()
    found = await ask(client)
    assert "erased" not in found
    assert (found["status"], found["position"], found["version"]) == ("in", 3, 1)
    assert [sender["sender"] for sender in found["senders"]] == [SENDER]
    spoken, silent = await sender_of(client, SENDER), await sender_of(client, OTHER)
    assert (spoken["status"], spoken.get("erased")) == ("in", None)
    assert (silent["status"], silent.get("erased")) == ("out", True)
    history = await ask(client, HISTORY)
    assert "erased" not in history
    [event] = history["events"]
    assert (event["position"], event["previousStatus"]) == (3, "out")


@pytest.mark.usefixtures("projector")
async def test_a_word_to_everyone_undoes_what_the_erasure_left(
    client: Client, erasures: Erasures
) -> None:
    """It addresses every sender, and is newer."""
    await text(client, "STOP")
    await erase(erasures)
    await record(client, {"status": "in", "sender": "*"})
    found = await sender_of(client, OTHER)
    assert (found["status"], found.get("erased")) == ("in", None)


async def test_each_erasure_leaves_what_the_ones_before_it_left(
    client: Client, catch_up: CatchUp, erasures: Erasures
) -> None:
    """Out once, out until the person says otherwise to that sender."""
    await text(client, "STOP")
    await catch_up()
    since = (await ask(client))["since"]
    for position in (2, 4):
        assert await erase(erasures) == position
        found = await ask(client)
        assert (found["status"], found["since"]) == ("out", since)
        assert (found["position"], found["version"]) == (position, 0)
        await text(client, "START")
        await catch_up()
        assert (await ask(client))["status"] == "in"
        assert (await sender_of(client, OTHER))["status"] == "out"
        assert (await ask(client, HISTORY))["events"][0]["position"] == position + 1


async def test_many_numbers_are_asked_for_across_subjects_at_once(
    client: Client, catch_up: CatchUp, erasures: Erasures, keyring: Keyring
) -> None:
    """A grouped read finds each number's own subject."""
    await text(client, "STOP")
    await text(client, "START", From=OTHER)
    await erase(erasures)
    await catch_up()
    first, second = await ask(client), await ask(client, path_of(OTHER))
    assert (first["erased"], second["status"]) == (True, "in")
    assert "erased" not in second
    identity = await keyring.identity()
    ids = {identity.subject_id(NUMBER), identity.subject_id(NUMBER, 1)}
    assert len(ids) == 2


async def test_an_erased_number_is_in_no_list(
    client: Client, catch_up: CatchUp, erasures: Erasures
) -> None:
    """A list has numbers, and there is none any more."""
    await text(client, "STOP")
    await catch_up()
    assert len(await ask(client, "/PhoneNumbers/?status=out")) == 1
    await erase(erasures)
    for query in ("status=out", "sender=%2B14155550199", "sort(-position)"):
        assert await ask(client, f"/PhoneNumbers/?{query}") == []


async def test_an_erased_record_can_be_had_in_every_format(
    client: Client, catch_up: CatchUp, erasures: Erasures
) -> None:
    """One property of it, some columns, and CSV."""
    await text(client, "STOP")
    await catch_up()
    await erase(erasures)
    assert await ask(client, path_of(rest=".status")) == "out"
    assert await ask(client, path_of(rest="?select(status,version)")) == {
        "status": "out",
        "version": 0,
    }
    response = await client.get(path_of(rest=".csv"), headers=bearer())
    [_, row] = (await response.text()).splitlines()
    assert row.startswith(f"{NUMBER},out,")


@pytest.mark.usefixtures("projector")
async def test_an_etag_changes_with_an_erasure(
    client: Client, erasures: Erasures
) -> None:
    """And a write may name it: what comes next is version 1 of a new subject."""
    await text(client, "STOP")
    projected = path_of(rest="?minPosition=1")
    before = (await client.get(projected, headers=bearer())).headers["ETag"]
    await erase(erasures)
    etag = (await client.get(path_of(), headers=bearer())).headers["ETag"]
    assert etag != before
    assert await refusal(await record(client, If_Match=before)) == (
        412,
        "precondition_failed",
    )
    assert await refusal(await record(client, If_Match="*")) == (
        412,
        "precondition_failed",
    )
    assert (await record(client, If_Match=etag)).status == 201


@pytest.mark.usefixtures("projector")
async def test_a_number_that_was_erased_is_new(
    client: Client, erasures: Erasures
) -> None:
    """POST records its first consent, as of a number never seen."""
    await text(client, "STOP")
    await erase(erasures)
    consent = {"phoneNumber": NUMBER, "status": "in", "sender": SENDER}
    response = await client.post("/PhoneNumbers/", json=consent, headers=bearer())
    assert response.status == 201
    assert (await response.json())["status"] == "in"


@pytest.mark.usefixtures("projector")
async def test_a_key_of_an_erased_consent_is_used_up(
    client: Client, erasures: Erasures
) -> None:
    """Nobody can tell any more whether it was this number's."""
    assert (await record(client, Idempotency_Key="a")).status == 201
    assert (await record(client, Idempotency_Key="a")).status == 200
    await erase(erasures)
    again = await record(client, Idempotency_Key="a")
    assert await refusal(again) == (422, "idempotency_key_reused")


@pytest.mark.usefixtures("projector")
async def test_a_repeat_outlives_its_evidence(
    client: Client, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was destroyed by its age is not compared."""
    with monkeypatch.context() as late:
        late.setattr("ledger.store.keyring.datetime", Yesterday)
        assert (await record(client, Idempotency_Key="a")).status == 201
    await connection.execute("DELETE FROM evidence_keys")
    assert (await record(client, Idempotency_Key="a")).status == 200
    other = await record(client, {"status": "out"}, Idempotency_Key="a")
    assert await refusal(other) == (422, "idempotency_key_reused")


@pytest.mark.parametrize("role", ["reader", "auditor"])
async def test_evidence_that_was_destroyed_is_said_to_be(
    client: Client, catch_up: CatchUp, connection: Connection, role: Any
) -> None:
    """To who may see evidence; the rest of the event stands."""
    await text(client, "STOP")
    await connection.execute("DELETE FROM evidence_keys")
    await catch_up()
    key = bearer(await key_of(connection, role))
    [event] = (await ask(client, HISTORY, key))["events"]
    assert event["status"] == "out"
    assert "evidence" not in event
    assert event.get("evidenceErased") == (True if role == "auditor" else None)


async def test_a_hold_shows_in_version_and_position_alone(
    client: Client, catch_up: CatchUp, erasures: Erasures
) -> None:
    """It is an event of the subject, and says nothing about being texted."""
    await text(client, "STOP")
    await catch_up()
    before, told = await ask(client), await ask(client, HISTORY)
    until = datetime.now(UTC) + timedelta(days=1)
    await erasures.hold(NUMBER, until=until, reason="a test", actor="test")
    await catch_up()
    assert await ask(client) == before | {"position": 2, "version": 2}
    assert await ask(client, HISTORY) == told
