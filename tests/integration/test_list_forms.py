"""Every form of query that clients of HarperDB/twilio-sms send, over real rows."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import ClientResponse
from api_steps import refusal
from builders import bearer
from conftest import Client
from list_rows import NumberRow, SenderRow, at, put_numbers, put_senders
from yarl import URL

from ledger.store.database import Connection

A, B, C, D = "+14155550100", "+14155550101", "+15125550102", "+442079460103"
E = "72345"  # a short code
ROWS = [
    NumberRow(A, "out", at(3), 12, 2, at(4)),
    NumberRow(B, "in", at(1), 3, 1, at(1)),
    NumberRow(C, "out", at(3), 9, 3, at(3)),
    NumberRow(D, "in", at(2), 5, 1, at(2)),
    NumberRow(E, "out", at(0), 1, 1, at(0)),
]
SENDERS = [
    SenderRow(A, "MG1", "out", at(3), 12, 2),
    SenderRow(A, "+14155550199", "in", at(1), 2, 1),
    SenderRow(B, "MG1", "in", at(1), 3, 1),
    SenderRow(C, "MG1", "out", at(3), 9, 3),
    SenderRow(D, "*", "in", at(2), 5, 1),
    SenderRow(E, "MG2", "out", at(0), 1, 1),
]
ALL = [A, B, C, D, E]
TIME = "2026-01-01T00:{:02}:00Z"

REFUSED = {
    "age=3": "unknown_attribute",  # 404 at the peer
    "lt=b": "unknown_attribute",
    "select(age)": "unknown_attribute",
    "sort(age)": "unknown_attribute",
    "status=xx=out": "unknown_operator",
    "phoneNumber=ct=55": "filter_not_indexed",
    "phoneNumber=ew=55": "filter_not_indexed",
    "version=2": "filter_not_indexed",
    "sender!=MG1": "filter_not_indexed",
    "position=1&since=ge=2026-01-01T00:00:00Z": "filter_not_indexed",
    "sender=MG1&sort(since)": "sort_not_indexed",
    "sort(since,phoneNumber,position)": "sort_not_indexed",
    "sort(version)": "sort_not_indexed",
    "position=gt=1&sort(phoneNumber)": "sort_not_indexed",
    "status=banana": "invalid_value",
    "status=null": "invalid_value",
    "status=": "invalid_value",
    "phoneNumber=%00": "invalid_value",
    "position=one": "invalid_value",
    "since=2026-01-01": "invalid_value",
    "limit=0": "invalid_limit",
    "limit=1001": "invalid_limit",
    "limit(5,5)": "invalid_limit",
    "limit(10001,10002)": "invalid_limit",
    "limit=x": "invalid_limit",
    "cursor=x": "invalid_cursor",
    "status": "invalid_query",  # from here on, 500 at the peer
    "status=out|status=in": "invalid_query",
    "(status=out)": "invalid_query",
    "[status=out": "invalid_query",
    "limit(2": "invalid_query",
    "limit(2)&limit(3)": "invalid_query",
    ")(": "invalid_query",
    "%ff%fe": "invalid_query",
    "&".join(["status=out"] * 21): "invalid_query",
}

Ask = Callable[[str], Awaitable[Any]]


@pytest.fixture
async def listed(client: Client, connection: Connection) -> Ask:
    """The list that a query string asks for, of five numbers."""
    await put_numbers(connection, ROWS)
    await put_senders(connection, SENDERS)

    async def ask(raw: str) -> Any:
        response = await get(client, f"/PhoneNumbers/?{raw}")
        assert response.status == 200, await response.text()
        return await response.json()

    return ask


async def get(client: Client, path: str) -> ClientResponse:
    """An answer; the path is sent to the letter, whatever a client would encode."""
    return await client.get(URL(path, encoded=True), headers=bearer())


async def check(listed: Ask, table: dict[str, list[str]]) -> None:
    """Each query has exactly these numbers, in this order."""
    for raw, expected in table.items():
        found = [record["phoneNumber"] for record in await listed(raw)]
        assert found == expected, raw


async def test_a_status_in_every_form(listed: Ask) -> None:
    """Equality and inequality of a status, as the peer writes them."""
    for operator in ("=", "==", "===", "=eq="):
        await check(listed, {f"status{operator}out": [A, C, E]})
    for operator in ("!=", "!==", "=ne=", "==ne="):
        await check(listed, {f"status{operator}out": [B, D]})
    await check(
        listed,
        {
            "": ALL,
            "status==string:in": [B, D],
            "status=in&status=out": [],
            "status!=in&status=out": [A, C, E],
        },
    )


async def test_a_number_in_every_form(listed: Ask) -> None:
    """Equality, ranges and prefixes of a number."""
    await check(
        listed,
        {
            "phoneNumber=%2B14155550100": [A],
            # The peer answers [] to a plus that was not encoded.
            "phoneNumber=+14155550100": [A],
            "phoneNumber==%2B14155550100": [A],
            "phoneNumber!=%2B14155550100": [B, C, D, E],
            "phoneNumber=ne=%2B14155550100&phoneNumber!=72345": [B, C, D],
            "phoneNumber=gt=%2B14155550101": [C, D, E],
            "phoneNumber=ge=%2B14155550101": [B, C, D, E],
            "phoneNumber=lt=%2B14155550101": [A],
            "phoneNumber=le=%2B14155550101": [A, B],
            "phoneNumber>%2B14155550101": [C, D, E],
            "phoneNumber<=%2B14155550101": [A, B],
            "phoneNumber%3E=%2B442079460103": [D, E],
            "phoneNumber=sw=%2B1415": [A, B],
            "phoneNumber==%2B1*": [A, B, C],
            "phoneNumber=sw=7": [E],
            "phoneNumber=sw=%2B1415&status=in": [B],
            "phoneNumber=99999": [],
        },
    )


async def test_a_chained_range(listed: Ask) -> None:
    """The documented chain, which is 404 at the peer, is a range, as its others are."""
    for chain in (
        "phoneNumber=gt=%2B14155550100&lt=%2B442079460103",
        "phoneNumber=gt=%2B14155550100&=lt=%2B442079460103",
        "phoneNumber=gt=%2B14155550100&phoneNumber=lt=%2B442079460103",
        "phoneNumber>%2B14155550100&phoneNumber<%2B442079460103",
    ):
        await check(listed, {chain: [B, C]})
        await check(listed, {f"{chain}&status=out": [C]})
    await check(listed, {"phoneNumber=gt=5&phoneNumber=lt=4": []})


async def test_times_and_positions_in_every_form(listed: Ask) -> None:
    """A range of since or position is in its own order."""
    await check(
        listed,
        {
            f"since=ge={TIME.format(2)}": [D, A, C],
            f"since=gt={TIME.format(2)}": [A, C],
            f"since=le={TIME.format(2)}": [E, B, D],
            f"since=lt={TIME.format(2)}": [E, B],
            f"since=ge={TIME.format(1)}&lt={TIME.format(3)}": [B, D],
            f"since={TIME.format(3)}": [A, C],
            f"since=date:{TIME.format(3)}&status=out": [A, C],
            f"since=ge={TIME.format(2)}&status=in": [D],
            "since=ge=2026-01-01T02:02:00%2B02:00": [D, A, C],
            "position=gt=3": [D, C, A],
            "position=ge=3&position=le=5": [B, D],
            "position=number:9": [C],
            "position=lt=9&status=out": [E],
            f"updatedSince={TIME.format(3)}": [C, A],
            f"updatedSince={TIME.format(1)}&status=in": [B, D],
            f"updatedSince={TIME.format(1)}&sort(-position)": [A, C, D, B],
            f"updatedSince={TIME.format(5)}": [],
        },
    )


async def test_the_list_of_a_sender(listed: Ask) -> None:
    """A sender's list has what each number said to it, whatever it said to others."""
    await check(
        listed,
        {
            "sender=MG1": [A, B, C],
            "sender=MG1&status=out": [A, C],
            "sender==%2B14155550199": [A],
            "sender=+14155550199": [A],
            "sender=*": [D],
            "sender=MG1&sort(-phoneNumber)": [C, B, A],
            "sender=MG1&phoneNumber=gt=%2B14155550100": [B, C],
            "sender=MG1&sort(status)": [B, A, C],
            "sender=MG3": [],
            "sender=MG1&sender=MG2": [],
        },
    )
    [record] = await listed("sender=%2B14155550199&status=in")
    assert record == {
        "phoneNumber": A,
        "status": "in",
        "sender": "+14155550199",
        "since": TIME.format(1),
        "position": 2,
    }


async def test_every_order(listed: Ask) -> None:
    """By any indexed key, either way; sort(phoneNumber) alone, too."""
    await check(
        listed,
        {
            "sort(phoneNumber)": ALL,  # 404 at the peer
            "sort(-phoneNumber)": [E, D, C, B, A],
            "phoneNumber=gt=%2B&sort(-phoneNumber)": [E, D, C, B, A],
            "sort(status)": [B, D, A, C, E],
            "sort(-status)": [A, C, E, B, D],
            "sort(+status,-phoneNumber)": [D, B, E, C, A],
            "sort(-status,+since)": [E, A, C, B, D],
            "sort(-since)": [C, A, D, B, E],
            "sort(position)": [E, B, D, C, A],
            "status=out&sort(-position)": [A, C, E],
            "status=out&sort(status,-position)": [A, C, E],
        },
    )


async def test_every_window(listed: Ask) -> None:
    """limit(n), limit(start,end) with the end left out, and plain limit=."""
    await check(
        listed,
        {
            "limit(2)": [A, B],
            "limit(1,3)": [B, C],
            "limit(0,5)": ALL,
            "limit(4,9)": [E],
            "limit(9,12)": [],
            "limit=2": [A, B],  # 404 at the peer
            "status=out&limit(1,3)": [C, E],
            "sort(status)&limit(1,3)": [D, A],
            "sort(status,position)&limit(3,5)": [C, A],
        },
    )


async def test_every_selection(listed: Ask) -> None:
    """One column is values; with a comma, objects; in brackets, arrays."""
    for raw, expected in {
        "select(status)": ["out", "in", "out", "in", "out"],
        "select(position)": [12, 3, 9, 5, 1],
        "status=in&select(phoneNumber,)": [{"phoneNumber": B}, {"phoneNumber": D}],
        "limit=1&select(status,phoneNumber)": [{"status": "out", "phoneNumber": A}],
        "limit=1&select([phoneNumber,since])": [[A, TIME.format(3)]],
        "limit=1&select([version])": [[2]],
        "sender=MG1&limit=1&select(sender)": ["MG1"],
    }.items():
        assert await listed(raw) == expected, raw
    [first, *_] = await listed("select(status,phoneNumber)")
    assert list(first) == ["status", "phoneNumber"]


async def test_what_is_not_served_is_refused_with_a_code(client: Client) -> None:
    """A query that no index serves, or that is none, is 400 and says what it is."""
    for raw, code in REFUSED.items():
        for path in ("/PhoneNumbers/", "/PhoneNumbers/.csv"):
            response = await get(client, f"{path}?{raw}")
            assert await refusal(response) == (400, code), raw


async def test_a_cursor_is_of_its_own_query(client: Client, listed: Ask) -> None:
    """A cursor goes on where its page ended, and is refused with any other query."""
    response = await get(client, "/PhoneNumbers/?sort(since)&limit=2")
    cursor = response.links["next"]["url"].query["cursor"]  # type: ignore[union-attr]
    await check(listed, {f"sort(since)&limit=9&cursor={cursor}": [D, A, C]})
    for other in ("sort(position)", "sort(-since)", "sort(since)&status=out", ""):
        refused = await get(client, f"/PhoneNumbers/?{other}&cursor={cursor}")
        assert await refusal(refused) == (400, "invalid_cursor")
