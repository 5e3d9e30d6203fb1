"""``?asOf=`` and ``?knownAt=``: what a number said on a day, as known on another."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from api_steps import CONSENT, ask, path_of, record, refusal, text
from builders import NUMBER, SENDER, bearer
from conftest import CatchUp, Client
from yarl import URL

from ledger.erasure import Erasures
from ledger.store.database import Connection

OTHER = "+14155550188"
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
NOT_UNDERSTOOD = [
    ("asOf=", "invalid_moment"),
    ("asOf=2026-02-30", "invalid_moment"),
    ("asOf=2026-02-01T12:00:00", "invalid_moment"),
    ("knownAt=yesterday", "invalid_moment"),
    ("asOf=2020-01-01&knownAt=", "invalid_moment"),
    ("asOf=2999-01-01", "future_moment"),
    ("asOf=2020-01-01&knownAt=2999-01-01T00:00:00Z", "future_moment"),
    ("asOf=2020-01-01&tz=Nowhere/Land", "unknown_time_zone"),
    ("tz=UTC", "invalid_query"),
    ("asOf=2020-01-01&asOf=2020-01-02", "invalid_query"),
    ("asOf=2020-01-01&sender=", "invalid_query"),
    ("asOf=2020-01-01&select(status)", "invalid_query"),
]


async def past(client: Client, number: str = NUMBER, **query: str) -> Any:
    """What is answered about the past."""
    path = str(URL(path_of(number), encoded=True).with_query(query))
    return await ask(client, path)


async def say(client: Client, status: str, days: float, sender: str = SENDER) -> None:
    """A consent of so many days after the start of 2020, recorded now."""
    at = (LONG_AGO + timedelta(days=days)).isoformat()
    consent = CONSENT | {"status": status, "sender": sender, "occurredAt": at}
    response = await record(client, consent)
    assert response.status in {200, 201, 202}


def day(days: float) -> str:
    """A time so many days after the start of 2020."""
    return (LONG_AGO + timedelta(days=days)).isoformat()


@pytest.mark.usefixtures("projector")
async def test_the_answer_names_what_decided_and_what_ended_it(client: Client) -> None:
    """With position, both times and source; and the instant that was used."""
    await say(client, "in", 10)
    await say(client, "out", 20)
    found = await past(client, asOf="2020-01-15")
    assert found["asOf"] == "2020-01-15T23:59:59.999999Z"
    assert found["knownAt"] is None
    assert (found["status"], found["position"]) == ("in", 2)
    decided, ended = found["decidedBy"], found["endedBy"]
    assert (decided["position"], decided["occurredAt"]) == (1, "2020-01-11T00:00:00Z")
    assert (decided["source"], decided["matchedBy"]) == ("api", "explicit")
    assert decided["recordedAt"] > decided["occurredAt"]
    assert (ended["position"], ended["status"]) == (2, "out")
    assert [one["status"] for one in found["senders"]] == ["in"]


@pytest.mark.usefixtures("projector")
async def test_a_late_fact_splits_the_past_and_leaves_what_was_known(
    client: Client, connection: Connection
) -> None:
    """What was known before it came is answered as it was answered then."""
    await say(client, "out", 10)
    known_at = await connection.fetchval("SELECT clock_timestamp()")
    await say(client, "in", 20)
    before = {"asOf": day(30), "knownAt": known_at.isoformat()}
    assert (await past(client, asOf=day(30)))["status"] == "in"
    assert (await past(client, asOf=day(15)))["status"] == "out"
    assert (await past(client, **before))["status"] == "out"
    assert (await past(client, **before))["endedBy"] is None
    assert (await past(client, asOf=day(15)))["endedBy"]["position"] == 2


@pytest.mark.usefixtures("projector")
async def test_known_at_alone_asks_for_what_was_known_then(
    client: Client, connection: Connection
) -> None:
    """The status of that time, as far as it was known."""
    await text(client, "STOP")
    known_at = await connection.fetchval("SELECT clock_timestamp()")
    await text(client, "START")
    found = await past(client, knownAt=known_at.isoformat())
    assert (found["status"], found["position"]) == ("out", 2)
    assert found["asOf"] == found["knownAt"]


@pytest.mark.usefixtures("projector")
async def test_before_anything_was_said_it_is_unknown(client: Client) -> None:
    """With 200, also of a number that was never seen."""
    await say(client, "out", 10)
    for number in (NUMBER, "+14155550101"):
        found = await past(client, number, asOf=day(5))
        assert (found["status"], found["decidedBy"]) == ("unknown", None)
    assert (await past(client, asOf=day(5)))["endedBy"]["position"] == 1


@pytest.mark.usefixtures("projector")
async def test_a_sender_is_told_what_was_said_to_it_or_to_all(client: Client) -> None:
    """And out, where the number was out for another: doubt is a no."""
    await say(client, "in", 10)
    await say(client, "out", 20, sender=OTHER)
    await say(client, "in", 30, sender="*")
    told = [await past(client, asOf=day(d), sender=OTHER) for d in (15, 25, 35)]
    assert [one["status"] for one in told] == ["unknown", "out", "in"]
    assert [one["sender"] for one in told] == [OTHER] * 3
    stranger = await past(client, asOf=day(25), sender="MG1")
    assert (stranger["status"], stranger["decidedBy"]["sender"]) == ("out", OTHER)
    assert stranger["endedBy"]["position"] == 3


@pytest.mark.usefixtures("projector")
async def test_a_second_stop_takes_the_place_of_the_first(client: Client) -> None:
    """The status stays, and another event decides; what others are told does not."""
    await say(client, "out", 10)
    await say(client, "in", 20, sender=OTHER)
    await say(client, "out", 30)
    await say(client, "in", 40)
    found = [await past(client, asOf=day(d)) for d in (15, 35, 45)]
    assert [one["status"] for one in found] == ["out", "out", "in"]
    ended = [one["endedBy"] and one["endedBy"]["position"] for one in found]
    assert ended == [3, 4, None]


@pytest.mark.usefixtures("projector")
async def test_of_an_erased_number_the_duty_is_left(
    client: Client, erasures: Erasures
) -> None:
    """Out since it was, unknown before: who returns begins anew, and the duty stays."""
    await say(client, "out", 10)
    await erasures.erase(NUMBER, reason="asked", actor="cli")
    found = [await past(client, asOf=day(d)) for d in (5, 15)]
    assert [one["status"] for one in found] == ["unknown", "out"]
    assert [one["erased"] for one in found] == [True, True]
    await say(client, "in", 20)
    await say(client, "in", 30, sender=OTHER)
    told = [await past(client, asOf=day(d), sender=OTHER) for d in (5, 25, 35)]
    assert [one["status"] for one in told] == ["unknown", "out", "in"]


@pytest.mark.parametrize(("query", "code"), NOT_UNDERSTOOD)
async def test_what_is_no_question_is_refused(
    client: Client, query: str, code: str
) -> None:
    """With a code of its own, and 400."""
    response = await client.get(f"{path_of()}?{query}", headers=bearer())
    assert await refusal(response) == (400, code)


async def test_the_past_is_answered_as_json(client: Client) -> None:
    """There is no other form of it, and no stream of what will not change."""
    csv, stream = [
        await client.get(
            f"{path_of()}?asOf=2020-01-01", headers=bearer() | {"Accept": accept}
        )
        for accept in ("text/csv", "text/event-stream")
    ]
    assert await refusal(csv) == (406, "not_acceptable")
    assert await refusal(stream) == (400, "invalid_query")


async def test_what_was_known_waits_for_the_history(
    client: Client, catch_up: CatchUp, connection: Connection
) -> None:
    """It would else change when the history catches up, and it must not."""
    await text(client, "STOP")
    known_at = await connection.fetchval("SELECT clock_timestamp()")
    asking = asyncio.create_task(past(client, knownAt=known_at.isoformat()))
    await asyncio.sleep(0)
    await catch_up()
    assert (await asking)["status"] == "out"


async def test_what_is_no_number_is_not_found(client: Client) -> None:
    """A number that is written loosely is nobody's, and that is no answer about it."""
    response = await client.get(
        "/PhoneNumbers/+1%20415%20555%200100?asOf=2020-01-01", headers=bearer()
    )
    assert await refusal(response) == (404, "not_found")
