"""``GET /PhoneNumbers/{number}/history``: everything a number ever said."""

from datetime import UTC, datetime

import pytest
from api_steps import ask, key_of, path_of, record, refusal, text
from builders import ACCOUNT_SID, NUMBER, SENDER, bearer
from conftest import CatchUp, Client
from yarl import URL

from ledger.api.keys import ROLES, Role
from ledger.store.database import Connection

HISTORY = path_of(rest="/history")


async def test_every_event_is_there_oldest_first(
    client: Client, catch_up: CatchUp
) -> None:
    """A second STOP is there too, with the status before it and after it."""
    for body in ("START", "STOP", "STOP"):
        await text(client, body)
    await text(client, From="+14155550101")
    await catch_up()
    found = await ask(client, HISTORY)
    assert found["phoneNumber"] == NUMBER
    assert [
        (e["position"], e["version"], e["previousStatus"], e["status"])
        for e in found["events"]
    ] == [(1, 1, "unknown", "in"), (2, 2, "in", "out"), (3, 3, "out", "out")]
    assert found["events"][0]["sender"] == SENDER
    assert found["events"][0]["source"] == "twilio.inbound"
    assert found["events"][0]["matchedBy"] == "keyword"
    assert found["events"][0]["actor"] == "subject"


@pytest.mark.usefixtures("projector")
async def test_both_times_are_there(client: Client) -> None:
    """When it happened and when it was written are two times, both in UTC."""
    before = datetime.now(UTC)
    consent = {"status": "in", "occurredAt": "2024-02-29T23:59:59.5+05:30"}
    assert (await record(client, consent)).status == 201
    await text(client)
    [explicit, texted] = (await ask(client, f"{HISTORY}?minPosition=2"))["events"]
    assert explicit["occurredAt"] == "2024-02-29T18:29:59.500000Z"
    assert before <= datetime.fromisoformat(explicit["recordedAt"])
    assert texted["occurredAt"] == texted["recordedAt"]
    assert explicit["recordedAt"] <= texted["recordedAt"]


@pytest.mark.usefixtures("projector")
async def test_an_older_fact_does_not_change_what_holds_now(client: Client) -> None:
    """A consent from before the STOP is kept, and the number stays out."""
    await text(client)
    consent = {"status": "in", "sender": SENDER, "occurredAt": "2020-01-01T00:00:00Z"}
    assert (await record(client, consent)).status == 200
    assert (await ask(client))["status"] == "out"
    events = (await ask(client, f"{HISTORY}?minPosition=2"))["events"]
    assert [event["status"] for event in events] == ["out", "in"]


@pytest.mark.usefixtures("projector")
@pytest.mark.parametrize("role", ROLES)
async def test_evidence_is_for_auditors(
    client: Client, connection: Connection, role: Role
) -> None:
    """The evidence is shown to auditors and admins, as it was sent, and to no other."""
    is_shown = role in ("auditor", "admin")
    evidence = {"wording": "Text me\0 offers", "ip": None, "steps": [1, 2.5, {"a": {}}]}
    await text(client, "stop ✋")
    await record(client, {"status": "in", "evidence": evidence})
    key = bearer(await key_of(connection, role))
    texted, explicit = (await ask(client, f"{HISTORY}?minPosition=2", key))["events"]
    assert ("evidence" in texted) == ("evidence" in explicit) == is_shown
    if is_shown:
        assert explicit["evidence"] == evidence
        assert texted["evidence"]["Body"] == "stop ✋"
        assert texted["evidence"]["From"] == NUMBER
        assert texted["evidence"]["AccountSid"] == ACCOUNT_SID
        assert texted["evidence"]["channel"] == "sms"


async def test_a_long_history_is_read_in_pages(
    client: Client, catch_up: CatchUp
) -> None:
    """``Link: rel=next`` leads through every event once, with evidence, and ends."""
    for body in ("START", "STOP", "START", "STOP", "START"):
        await text(client, body)
        await text(client, From="+14155550101")
    await catch_up()
    url: URL | None = URL(f"{HISTORY}?limit=2", encoded=True)
    pages = []
    while url:
        response = await client.get(url, headers=bearer())
        assert response.status == 200
        pages.append((await response.json())["events"])
        link = response.links.get("next")
        url = URL(link["url"]).relative() if link else None
    assert [len(page) for page in pages] == [2, 2, 1]
    events = [event for page in pages for event in page]
    assert [event["position"] for event in events] == [1, 3, 5, 7, 9]
    assert [event["evidence"]["Body"] for event in events] == [
        *("START", "STOP", "START", "STOP", "START")
    ]
    after = await ask(client, f"{HISTORY}?after=9")
    assert after["events"] == []


async def test_pages_that_are_not_understood_are_400(
    client: Client, catch_up: CatchUp
) -> None:
    """A page of none, of too many or after no position is refused."""
    await text(client)
    await catch_up()
    for query in (
        "limit=0",
        "limit=10001",
        "limit=x",
        "after=-1",
        "sender=x",
    ):
        response = await client.get(f"{HISTORY}?{query}", headers=bearer())
        assert await refusal(response) == (400, "invalid_query"), query
