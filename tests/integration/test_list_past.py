"""``GET /PhoneNumbers/?asOf=``: which numbers were out, or in, at a time."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from api_steps import refusal
from builders import SENDER, bearer, signal
from conftest import CatchUp, Client
from yarl import URL

from ledger.api import past_list
from ledger.command_handler import CommandHandler
from ledger.domain.ids import PhoneNumber, Status

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
NUMBERS = [PhoneNumber(f"+1415555{n:04}") for n in range(1, 8)]
NOT_UNDERSTOOD = [
    ("asOf=yesterday", "invalid_moment"),
    ("asOf=2999-01-01", "future_moment"),
    ("asOf=2020-01-01&tz=x", "unknown_time_zone"),
    ("asOf=2020-01-01&status=maybe", "invalid_value"),
    ("asOf=2020-01-01&limit=0", "invalid_limit"),
    ("asOf=2020-01-01&limit=1001", "invalid_limit"),
    ("asOf=2020-01-01&limit=%D9%A1", "invalid_limit"),
    ("asOf=2020-01-01&cursor=", "invalid_cursor"),
    ("asOf=2020-01-01&cursor=!", "invalid_cursor"),
    ("asOf=2020-01-01&cursor=AA", "invalid_cursor"),
    ("asOf=2020-01-01&sort(-since)", "invalid_query"),
    ("tz=UTC", "invalid_query"),
]


@pytest.fixture
async def told(handler: CommandHandler, catch_up: CatchUp) -> None:
    """Seven numbers; the odd ones out on day 10, all of them in on day 20."""
    statuses: list[tuple[int, Status]] = [(10, "out"), (20, "in")]
    for day, status in statuses:
        for number in NUMBERS[:: 2 if day == 10 else 1]:
            at = LONG_AGO + timedelta(days=day)
            await handler.handle(
                signal(phone_number=number, status=status, occurred_at=at)
            )
    await catch_up()


async def listed(client: Client, **query: str) -> list[Any]:
    """Every record of every page."""
    path, records = URL("/PhoneNumbers/").with_query(query), []
    while True:
        response = await client.get(path, headers=bearer())
        assert response.status == 200, await response.text()
        records += await response.json()
        following = response.links.get("next")
        if following is None:
            return records
        path = URL(str(following["url"])).relative()


@pytest.mark.usefixtures("told")
@pytest.mark.parametrize("limit", ["1", "2", "3", "4", "1000"])
async def test_the_list_of_then_has_who_was_out_then(
    client: Client, limit: str
) -> None:
    """Whatever the pages' size, each once, in the order of numbers."""
    then = {"asOf": "2020-01-15", "limit": limit}
    out = await listed(client, status="out", **then)
    assert [record["phoneNumber"] for record in out] == NUMBERS[::2]
    assert out[0] == {
        "phoneNumber": NUMBERS[0],
        "status": "out",
        "sender": None,
        "since": "2020-01-11T00:00:00Z",
        "position": 1,
    }
    assert await listed(client, status="in", **then) == []
    assert await listed(client, **then) == out


@pytest.mark.usefixtures("told")
async def test_the_list_of_then_may_be_a_senders(client: Client) -> None:
    """With who said something to it, as in the list of now, and nobody else."""
    then = {"asOf": "2020-01-25"}
    own = await listed(client, sender=SENDER, **then)
    assert [record["status"] for record in own] == ["in"] * len(NUMBERS)
    then = {"asOf": "2020-01-15"}
    assert await listed(client, sender="MG1", **then) == []


@pytest.mark.usefixtures("told")
async def test_what_was_not_known_yet_is_not_listed(client: Client) -> None:
    """All of it was recorded today."""
    assert await listed(client, asOf="2020-01-15", knownAt="2020-02-01") == []


@pytest.mark.usefixtures("told")
async def test_an_answer_looks_at_so_many_numbers_and_goes_on(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though it has found none."""
    monkeypatch.setattr(past_list, "NUMBERS_MAX", 4)
    path = "/PhoneNumbers/?asOf=2020-01-15&status=in&limit=2"
    response = await client.get(path, headers=bearer())
    assert await response.json() == []
    assert "next" in response.links


@pytest.mark.usefixtures("told")
async def test_the_list_of_then_can_be_csv(client: Client) -> None:
    """In the columns of a sender's list."""
    response = await client.get(
        "/PhoneNumbers/.csv?asOf=2020-01-15&limit=1", headers=bearer()
    )
    assert (await response.text()).splitlines() == [
        "phoneNumber,status,sender,since,position",
        f"{NUMBERS[0]},out,,2020-01-11T00:00:00Z,1",
    ]


@pytest.mark.parametrize(("query", "code"), NOT_UNDERSTOOD)
async def test_what_is_no_list_of_then_is_refused(
    client: Client, query: str, code: str
) -> None:
    """With 400 and a code that says which."""
    response = await client.get(f"/PhoneNumbers/?{query}", headers=bearer())
    assert await refusal(response) == (400, code)
