"""Formats over HTTP: one record and lists, by address, by Accept and by columns."""

import csv
import io
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import ClientResponse
from api_steps import refusal, text
from builders import NUMBER, SENDER, bearer
from conftest import CatchUp, Client
from list_rows import NumberRow, at, fill, put_numbers

from ledger.store.database import Connection

RECORD = f"/PhoneNumbers/{NUMBER}"
LIST = "/PhoneNumbers/"
HEADER = "phoneNumber,status,since,position,version"

Get = Callable[..., Awaitable[ClientResponse]]


@pytest.fixture
async def get(client: Client, catch_up: CatchUp) -> Get:
    """An answer about a ledger with one STOP; None as Accept sends none."""
    await text(client)
    await catch_up()

    async def answer(
        path: str, accept: str | None = None, **more: str
    ) -> ClientResponse:
        named = {name.replace("_", "-"): value for name, value in more.items()}
        accepted = {} if accept is None else {"Accept": accept}
        return await client.get(
            path,
            headers=bearer() | accepted | named,
            skip_auto_headers=["Accept"],
        )

    return answer


@pytest.mark.parametrize("path", [RECORD, LIST])
async def test_json_is_what_is_answered_if_anything_will_do(
    get: Get, path: str
) -> None:
    """Without Accept, with */* or with application/* the answer is JSON."""
    for accept in (None, "", "*/*", "application/*", "text/html, */*;q=0.1"):
        response = await get(path, accept)
        assert response.status == 200
        assert response.content_type == "application/json"
        assert response.headers["Vary"] == "Accept"


@pytest.mark.parametrize("path", [RECORD, LIST])
async def test_csv_is_answered_where_it_weighs_most(get: Get, path: str) -> None:
    """The client's weights decide; the peer had weights of its own."""
    for accept in (
        "text/csv",
        "text/*",
        "text/csv, application/json;q=0.5",
        "application/json;q=0.9, text/csv",
    ):
        response = await get(path, accept)
        assert response.content_type == "text/csv", accept
        assert response.charset == "utf-8"
        disposition = response.headers["Content-Disposition"]
        assert disposition == 'attachment; filename="data.csv"'
    for accept in ("text/csv;q=0.5, application/json", "text/csv;q=0, */*"):
        assert (await get(path, accept)).content_type == "application/json", accept


@pytest.mark.parametrize("path", [RECORD, LIST])
async def test_what_cannot_be_made_is_not_acceptable(get: Get, path: str) -> None:
    """Any other type is 406, and says which types there are."""
    for accept in ("text/html", "application/cbor", "image/*", "*/*;q=0"):
        response = await get(path, accept)
        assert await refusal(response) == (406, "not_acceptable")
        assert "text/csv" in (await response.json())["detail"]


async def test_an_extension_wins_over_accept(get: Get) -> None:
    """.csv and .json in the address say what is answered, for a person in a browser."""
    for path in (RECORD, LIST):
        response = await get(f"{path}.csv", "text/html")
        assert response.content_type == "text/csv"
        response = await get(f"{path}.json", "text/csv")
        assert response.content_type == "application/json"
    assert (await get("/PhoneNumbers/+14155559999.csv")).status == 404


async def test_a_record_and_a_list_of_it_are_the_same_csv(get: Get) -> None:
    """One number by itself is CSV as in a list; E.164 numbers are left as they are."""
    record = await (await get(f"{RECORD}.csv")).text()
    assert record == await (await get(f"{LIST}.csv")).text()
    header, row = csv.reader(io.StringIO(record))
    assert ",".join(header) == HEADER
    assert row[:2] == [NUMBER, "out"]
    assert record.endswith("\r\n")


async def test_csv_says_what_json_says(get: Get) -> None:
    """Every cell of the CSV is the value in the JSON."""
    [record] = await (await get(LIST)).json()
    [row] = csv.DictReader(io.StringIO(await (await get(f"{LIST}.csv")).text()))
    assert row == {name: str(value) for name, value in record.items()}
    sender = f"sender={SENDER.replace('+', '%2B')}"
    [record] = await (await get(f"{LIST}?{sender}")).json()
    csv_text = await (await get(f"{LIST}.csv?{sender}")).text()
    [row] = csv.DictReader(io.StringIO(csv_text))
    assert row == {name: str(value) for name, value in record.items()}
    csv_text = await (await get(f"{RECORD}.csv?{sender}")).text()
    [row] = csv.DictReader(io.StringIO(csv_text))
    assert row == {name: str(value) for name, value in record.items()}


async def test_a_list_as_csv_goes_on_as_csv(
    client: Client, connection: Connection
) -> None:
    """The link of a page in CSV is to the next page in CSV, and has the columns."""
    await fill(connection, 3)
    path, seen = f"{LIST}.csv?select(phoneNumber)&limit=2", list[str]()
    while path:
        response = await client.get(path, headers=bearer())
        header, *rows = (await response.text()).splitlines()
        assert header == "phoneNumber"
        seen += rows
        link = response.headers.get("Link", "")
        path = link[1:].partition(">")[0]
        assert "/.csv?" in path or not path
    assert seen == [f"+1415{i:07}" for i in (1, 2, 3)]


async def test_a_formula_in_a_number_is_a_text(
    client: Client, connection: Connection
) -> None:
    """What came from a stranger's phone does not run in a spreadsheet."""
    await put_numbers(connection, [NumberRow("=1+1", "out", at(0), 1, 1, at(0))])
    answer = await client.get(f"{LIST}.csv", headers=bearer())
    assert "\r\n'=1+1,out" in await answer.text()


async def test_columns_of_one_record(get: Get) -> None:
    """select() on one number answers as it does in a list."""
    record = await (await get(RECORD)).json()
    for raw, expected in {
        "select(status)": "out",
        "select(status,)": {"status": "out"},
        "select(version,status)": {"version": 1, "status": "out"},
        "select([status,since])": ["out", record["since"]],
        "sender=MG9&select(status,sender)": {"status": "out", "sender": "MG9"},
        "minPosition=1&select(position)": 1,
    }.items():
        response = await get(f"{RECORD}?{raw}")
        assert await response.json() == expected, raw
    answer = await get(f"{RECORD}.csv?select(status,version)")
    assert await answer.text() == "status,version\r\nout,1\r\n"


async def test_one_property_is_a_value(get: Get) -> None:
    """/{number}.status is the value; with .csv, a column."""
    assert await (await get(f"{RECORD}.status")).json() == "out"
    assert await (await get(f"{RECORD}.version.json")).json() == 1
    [sender] = await (await get(f"{RECORD}.senders")).json()
    assert sender["sender"] == SENDER
    assert await (await get(f"{RECORD}.status.csv")).text() == "status\r\nout\r\n"
    response = await get(f"{RECORD}.status", "text/event-stream")
    assert await refusal(response) == (406, "not_acceptable")


@pytest.mark.parametrize(
    ("rest", "code"),
    [
        ("?select(age)", "unknown_attribute"),
        ("?select(status,status)", "invalid_query"),
        ("?select(status)&select(since)", "invalid_query"),
        ("?select(status", "invalid_query"),
        ("?select=status", "invalid_query"),
        (".status?select(since)", "invalid_query"),
        ("?limit=1", "invalid_query"),
    ],
)
async def test_columns_that_cannot_be_had_are_refused(
    client: Client, rest: str, code: str
) -> None:
    """A wrong column is 400, of a number that was never seen as well."""
    response = await client.get(f"{RECORD}{rest}", headers=bearer())
    assert await refusal(response) == (400, code)


async def test_each_format_has_its_own_validator(get: Get) -> None:
    """Who has the JSON is sent the CSV, though both are under one address."""
    for path in (RECORD, LIST):
        as_json, as_csv = await get(path), await get(path, "text/csv")
        assert as_json.headers["ETag"] != as_csv.headers["ETag"]
        for has, wants, status in (
            (as_json, "*/*", 304),
            (as_json, "text/csv", 200),
            (as_csv, "text/csv", 304),
            (as_csv, "*/*", 200),
        ):
            known = has.headers["ETag"]
            again = await get(path, wants, If_None_Match=known)
            assert again.status == status
            assert again.headers["Vary"] == "Accept"
