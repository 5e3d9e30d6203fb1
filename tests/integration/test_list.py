"""``GET /PhoneNumbers/``: what a page is, and what is around it."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import ClientResponse
from api_steps import ask, key_of, refusal, text
from builders import NUMBER, SENDER, bearer
from conftest import CatchUp, Client, settings_for
from list_rows import NumberRow, at, fill, put_numbers
from pydantic import TypeAdapter
from yarl import URL

from ledger import errors
from ledger.api.lists import known_query
from ledger.api.models import (
    Collection,
    PhoneNumberRecord,
    PhoneNumberSummary,
    SenderSummary,
)
from ledger.api.query import parse_query
from ledger.app import make_app
from ledger.store.database import Connection

LIST = "/PhoneNumbers/"
VALUES = {
    "phoneNumber": "%2B1415",
    "status": "out",
    "sender": "MG1",
    "since": "2026-01-01T00:00:00Z",
    "position": "7",
    "version": "1",
}


async def get(client: Client, path: str, **headers: str) -> ClientResponse:
    """An answer, with the admin's key; underscores in headers are dashes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.get(path, headers=bearer() | named)


async def pages(client: Client, path: str) -> AsyncIterator[list[dict[str, object]]]:
    """Every page of a list, by its links."""
    following: str | None = path
    while following:
        response = await get(client, following)
        assert response.status == 200, await response.text()
        yield await response.json()
        link = response.links.get("next")
        following = str(URL(link["url"]).relative()) if link else None


async def test_what_was_texted_is_in_the_list(
    client: Client, catch_up: CatchUp
) -> None:
    """A STOP and a START are two records, in the order of their numbers."""
    await text(client, "START", From="+14155550102")
    await text(client, "STOP")
    await catch_up()
    listed = await ask(client, LIST)
    assert [(r["phoneNumber"], r["status"]) for r in listed] == [
        (NUMBER, "out"),
        ("+14155550102", "in"),
    ]


async def test_a_record_in_a_list_is_the_record_without_its_senders(
    client: Client, catch_up: CatchUp
) -> None:
    """A list says of a number, to the letter, what its own address says."""
    await text(client)
    await catch_up()
    record = PhoneNumberRecord.model_validate(await ask(client))
    response = await get(client, LIST)
    summary = PhoneNumberSummary.model_validate(record.model_dump(exclude={"senders"}))
    assert await response.text() == f"[{summary.model_dump_json(by_alias=True)}]"
    adapter = TypeAdapter(list[PhoneNumberSummary])
    assert adapter.validate_json(await response.read()) == [summary]


async def test_a_record_in_the_list_of_a_sender_is_what_holds_for_it(
    client: Client, catch_up: CatchUp
) -> None:
    """A sender's list has its deciding row of each number that spoke to it."""
    await text(client)
    await catch_up()
    response = await get(client, f"{LIST}?sender={SENDER.replace('+', '%2B')}")
    [row] = (await ask(client))["senders"]
    summary = SenderSummary.model_validate({"phoneNumber": NUMBER, **row})
    assert await response.text() == f"[{summary.model_dump_json(by_alias=True)}]"
    assert await ask(client, f"{LIST}?sender=MG1") == []


async def test_times_are_written_as_the_models_write_them(
    client: Client, connection: Connection
) -> None:
    """Whole seconds, parts of a second and the far past look the same everywhere."""
    times = [at(0), at(0.001), at(1 / 3), at(-1_000_000_000)]
    rows = [
        NumberRow(f"+1415555010{i}", "in", time, i, 1, at(0))
        for i, time in enumerate(times)
    ]
    await put_numbers(connection, rows)
    read = TypeAdapter(list[PhoneNumberSummary])
    response = await get(client, LIST)
    records = read.validate_json(await response.read())
    assert [record.since for record in records] == times
    assert read.dump_json(records, by_alias=True) == await response.read()


async def test_a_list_without_a_limit_has_a_hundred_records(
    client: Client, connection: Connection
) -> None:
    """The peer answered 100,000 rows in one piece; ours has a default limit."""
    await fill(connection, 250)
    sizes = [len(page) async for page in pages(client, LIST)]
    assert sizes == [100, 100, 50]


async def test_pages_end_where_the_list_ends(
    client: Client, connection: Connection
) -> None:
    """The last page has no link, even where it is full; nor has an empty one."""
    await fill(connection, 20)
    assert [len(p) async for p in pages(client, f"{LIST}?limit=10")] == [10, 10]
    assert [len(p) async for p in pages(client, f"{LIST}?limit=20")] == [20]
    assert [len(p) async for p in pages(client, f"{LIST}?limit(18,25)")] == [2]
    assert [len(p) async for p in pages(client, f"{LIST}?phoneNumber=x")] == [0]
    contradiction = f"{LIST}?status=in&status=out"
    assert [p async for p in pages(client, contradiction)] == [[]]


async def test_a_link_can_be_followed_as_it_stands(
    client: Client, connection: Connection
) -> None:
    """A link is on the same address, asks the same, and goes on."""
    await fill(connection, 20)
    for raw in (
        "status=out&limit=4",
        "phoneNumber>%2B1&phoneNumber<%2B2&limit(4)",
        "select(phoneNumber,)&sort(-since)&limit=4",
        "phoneNumber==%2B1415*&sort(status,-phoneNumber)&limit=4",
    ):
        response = await get(client, f"{LIST}?{raw}")
        link = re.fullmatch(
            r'<(/PhoneNumbers/\?[^<> "]+)>; rel="next"', response.headers["Link"]
        )
        assert link, raw
        following = await get(client, link[1])
        seen = [*await response.json(), *await following.json()]
        assert len({str(record) for record in seen}) == 8


async def test_a_list_has_a_validator(client: Client, connection: Connection) -> None:
    """A list that the client has is 304, until a record in it changes."""
    await fill(connection, 20)
    path = f"{LIST}?status=out&limit=5"
    first = await get(client, path)
    etag = first.headers["ETag"]
    assert re.fullmatch(r'"[0-9a-f]+"', etag)
    for known in (etag, f'"other", W/{etag}', "*"):
        again = await get(client, path, If_None_Match=known)
        assert again.status == 304
        assert await again.read() == b""
        assert again.headers["ETag"] == etag
        assert again.headers["Link"] == first.headers["Link"]
    assert (await get(client, path, If_None_Match='"other"')).status == 200
    [number, *_] = [record["phoneNumber"] for record in await first.json()]
    await connection.execute(
        "UPDATE phone_numbers_v1 SET position = 21 WHERE phone_number = $1", number
    )
    changed = await get(client, path, If_None_Match=etag)
    assert changed.status == 200
    assert changed.headers["ETag"] != etag


async def test_a_list_that_got_a_next_page_is_not_the_same(
    client: Client, connection: Connection
) -> None:
    """A validator stands for the link, too: with 304 nobody misses the next page."""
    rows = [NumberRow(f"+1415555010{i}", "in", at(i), i, 1, at(i)) for i in range(3)]
    await put_numbers(connection, rows[:2])
    path = f"{LIST}?limit=2"
    etag = (await get(client, path)).headers["ETag"]
    await put_numbers(connection, rows[2:])
    assert (await get(client, path, If_None_Match=etag)).status == 200


async def test_head_is_a_list_without_its_body(
    client: Client, connection: Connection
) -> None:
    """HEAD has the headers of GET; the peer's said that there was nothing."""
    await fill(connection, 20)
    shown = await get(client, f"{LIST}?limit=5")
    asked = await client.head(f"{LIST}?limit=5", headers=bearer())
    assert asked.status == 200
    assert await asked.read() == b""
    for name in ("ETag", "Link", "Content-Type", "Content-Length"):
        assert asked.headers[name] == shown.headers[name]


async def test_a_list_is_for_who_has_a_key(
    client: Client, connection: Connection
) -> None:
    """A reader's key is needed, and enough, for the list and for its description."""
    key = await key_of(connection, "reader")
    for path in (LIST, "/PhoneNumbers/.csv", "/PhoneNumbers"):
        assert await refusal(await client.get(path)) == (401, "unauthenticated")
        assert (await client.get(path, headers=bearer(key))).status == 200


async def test_many_who_ask_the_same_get_the_same(
    client: Client, connection: Connection
) -> None:
    """Pages that are asked for together, of several lists, are not mixed up."""
    await fill(connection, 40)
    limits = [*range(1, 31)] * 2
    answers = await asyncio.gather(
        *(ask(client, f"{LIST}?limit={limit}&sort(-position)") for limit in limits)
    )
    for limit, listed in zip(limits, answers, strict=True):
        assert [record["position"] for record in listed] == [*range(40, 40 - limit, -1)]


async def test_the_collection_is_described(client: Client) -> None:
    """GET /PhoneNumbers names the attributes and what they can be asked."""
    described = Collection.model_validate(await ask(client, "/PhoneNumbers"))
    names = [attribute.name for attribute in described.attributes]
    assert names[:2] == ["phoneNumber", "status"]
    assert [a.name for a in described.attributes if a.is_primary_key] == names[:1]
    assert parse_query("").limit == described.limit_default


async def test_the_description_is_what_the_list_does(client: Client) -> None:
    """Each operator and order in the description is served, and no other is."""
    described = Collection.model_validate(await ask(client, "/PhoneNumbers"))
    for attribute in described.attributes:
        name = attribute.name
        for operator in ("eq", "gt", "ge", "lt", "le", "ne", "sw", "ct", "ew"):
            served = is_served(f"{name}={operator}={VALUES[name]}")
            assert served == (operator in attribute.operators), (name, operator)
        assert is_served(f"sort({name})") == attribute.is_sortable, name
    assert is_served(f"limit={described.limit_max}")
    assert not is_served(f"limit={described.limit_max + 1}")


def is_served(raw: str) -> bool:
    """Whether a query is one that the list answers."""
    try:
        known_query(raw)
    except errors.InvalidQuery:
        return False
    return True


async def test_a_list_that_cannot_be_read_is_503(
    dsn: str, aiohttp_client: Callable[..., Awaitable[Client]]
) -> None:
    """Without a database a list is 503 with Retry-After, and never an empty list."""
    settings = settings_for(dsn, LEDGER_STATEMENT_TIMEOUT_SECONDS="0.1")
    nowhere = "postgresql://nobody@127.0.0.1:1/nothing"
    client = await aiohttp_client(await make_app(nowhere, settings))
    response = await get(client, LIST)
    assert await refusal(response) == (503, "store_unavailable")
    assert response.headers["Retry-After"]


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
async def test_the_whole_list_cannot_be_written_or_emptied(
    client: Client, connection: Connection, method: str
) -> None:
    """The peer's DELETE without a filter emptied the table; ours has none."""
    await fill(connection, 5)
    for path in (LIST, f"{LIST}?status=out", "/PhoneNumbers"):
        response = await client.request(method, path, headers=bearer())
        assert await refusal(response) == (405, "method_not_allowed")
    assert len(await ask(client, LIST)) == 5
