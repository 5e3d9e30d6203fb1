"""``GET /PhoneNumbers/{number}``: what a number says now."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from api_steps import ask, path_of, record, refusal, text
from builders import NUMBER, SENDER, bearer
from conftest import CatchUp, Client, settings_for
from yarl import URL

from ledger.app import make_app

OTHER = "+14155550188"
THIRD = "MG00000000000000000000000000000001"
NEVER_SEEN = [
    path_of("+14155550101"),
    path_of("+14155550101", "/history"),
    path_of("+14155550101", ".status"),
    "/PhoneNumbers/14155550100",
    "/PhoneNumbers/nobody",
    "/PhoneNumbers/%00",
    "/PhoneNumbers/%00/history",
    "/PhoneNumbers/%2B14155550100%00",
    "/PhoneNumbers/%FF",
    "/PhoneNumbers/%ED%A0%80",
    "/PhoneNumbers/a%2Fb",
    f"/PhoneNumbers/{'9' * 5000}",
]
NOT_UNDERSTOOD = [
    "minPosition=",
    "minPosition=-1",
    "minPosition=1.0",
    "minPosition=x",
    "minPosition=%D9%A1",
    "minPosition=1000000000000000000",
    "minPosition=1&minPosition=1",
    "sender=",
    "sender=a&sender=b",
    "unknown=1",
    "status=out",
]


async def test_a_record_says_all_of_a_number(client: Client, catch_up: CatchUp) -> None:
    """The record has number, status, since, position, version and senders."""
    await text(client, "START")
    await text(client, "STOP", To=OTHER)
    await catch_up()
    found = await ask(client)
    assert list(found)[:2] == ["phoneNumber", "status"]
    since = found["since"]
    assert found == {
        "phoneNumber": NUMBER,
        "status": "out",
        "since": since,
        "position": 2,
        "version": 2,
        "senders": [
            {"sender": OTHER, "status": "out", "since": since, "position": 2},
            found["senders"][1],
        ],
    }
    assert found["senders"][1]["sender"] == SENDER
    assert found["senders"][1]["status"] == "in"
    assert since.endswith("Z")


async def test_the_plus_may_be_encoded(client: Client, catch_up: CatchUp) -> None:
    """``+`` and ``%2B`` are one number, and another channel is the same person."""
    await text(client)
    await catch_up()
    for number in (NUMBER, "%2B14155550100", "%2b14155550100", f"whatsapp:{NUMBER}"):
        # An encoded URL is sent as it is written.
        path = URL(f"/PhoneNumbers/{number}", encoded=True)
        response = await client.get(path, headers=bearer())
        assert (await response.json())["phoneNumber"] == NUMBER, number


async def test_a_number_never_seen_is_404(client: Client, catch_up: CatchUp) -> None:
    """What was never seen is 404, whatever it looks like, and never a fault."""
    await text(client)
    await catch_up()
    for path in NEVER_SEEN:
        response = await client.get(path, headers=bearer())
        assert await refusal(response) == (404, "not_found"), path


async def test_an_address_that_is_no_number_is_found(
    client: Client, catch_up: CatchUp
) -> None:
    """A short code's STOP can be read under the address as it came."""
    await text(client, From="12345")
    await catch_up()
    assert (await ask(client, "/PhoneNumbers/12345"))["status"] == "out"


async def test_head_is_get_without_the_body(client: Client, catch_up: CatchUp) -> None:
    """HEAD has GET's status and headers, its length too, and no body."""
    await text(client)
    await catch_up()
    got = await client.get(path_of(), headers=bearer())
    head = await client.head(path_of(), headers=bearer())
    assert head.status == 200
    assert head.headers["ETag"] == got.headers["ETag"]
    assert head.headers["Content-Length"] == got.headers["Content-Length"]
    assert await head.read() == b""
    assert (await client.head(path_of("+14155550101"), headers=bearer())).status == 404


async def test_one_property_is_answered_by_itself(
    client: Client, catch_up: CatchUp
) -> None:
    """``/PhoneNumbers/{number}.status`` is the record's status, as the peer has it."""
    await text(client)
    await catch_up()
    found = await ask(client)
    assert len(found) == 6
    for name, value in found.items():
        assert await ask(client, path_of(rest=f".{name}")) == value


async def test_an_unknown_property_is_404(client: Client, catch_up: CatchUp) -> None:
    """A property that records do not have is nothing that was ever seen."""
    await text(client)
    await catch_up()
    response = await client.get(path_of(rest=".body"), headers=bearer())
    assert await refusal(response) == (404, "not_found")


@pytest.mark.parametrize(
    ("said", "asked", "status"),
    [
        ([("STOP", SENDER)], SENDER, "out"),
        ([("START", SENDER)], SENDER, "in"),
        ([("START", SENDER)], OTHER, "unknown"),
        ([("STOP", SENDER)], OTHER, "out"),
        ([("STOP", SENDER), ("START", OTHER)], OTHER, "in"),
        ([("STOP", SENDER), ("START", OTHER)], THIRD, "out"),
        ([("STOP", SENDER), ("START", SENDER)], OTHER, "unknown"),
        ([("in", "*")], SENDER, "in"),
        ([("out", "*")], SENDER, "out"),
        ([("STOP", SENDER), ("in", "*")], SENDER, "in"),
        ([("in", "*"), ("STOP", SENDER)], SENDER, "out"),
        ([("in", "*"), ("STOP", SENDER)], OTHER, "in"),
        ([("out", "*"), ("START", SENDER)], SENDER, "in"),
        ([("out", "*"), ("START", SENDER)], OTHER, "out"),
    ],
)
@pytest.mark.usefixtures("projector")
async def test_a_sender_is_answered_by_the_newest_word_to_it(
    client: Client,
    said: list[tuple[str, str]],
    asked: str,
    status: str,
) -> None:
    """The newest word to it or to all; else out if out for another; else unknown."""
    for position, (word, sender) in enumerate(said, start=1):
        if sender == "*":
            await record(client, {"status": word, "sender": "*"})
        else:
            await text(client, word, To=sender)
        await ask(client, path_of(rest=f"?minPosition={position}"))
    path = path_of(
        rest=f"?sender=%2B{asked[1:]}" if asked[0] == "+" else f"?sender={asked}"
    )
    found = await ask(client, path)
    assert (found["sender"], found["status"]) == (asked, status)
    assert found["position"] == len(said)
    assert await ask(client, path.replace("?", ".status?")) == status


async def test_a_bare_plus_in_sender_is_a_plus(
    client: Client, catch_up: CatchUp
) -> None:
    """A plus that was sent as it is, which a query reads as a space, is understood."""
    await text(client, "START")
    await catch_up()
    path = URL(path_of(rest=f"?sender={SENDER}"), encoded=True)
    response = await client.get(path, headers=bearer())
    found = await response.json()
    assert (found["sender"], found["status"]) == (SENDER, "in")


async def test_an_etag_holds_until_the_next_event(
    client: Client, catch_up: CatchUp
) -> None:
    """If-None-Match is 304 while nothing happened, and 200 after an event."""
    await text(client)
    await catch_up()
    etag = (await client.get(path_of(), headers=bearer())).headers["ETag"]

    async def status(given: str, rest: str = "") -> int:
        headers = bearer() | {"If-None-Match": given}
        response = await client.get(path_of(rest=rest), headers=headers)
        assert response.headers["ETag"] == etag or response.status == 200
        if response.status == 304:
            assert await response.read() == b""
        return response.status

    assert await status(etag) == 304
    assert await status(f"W/{etag}") == 304
    assert await status(f'"other", {etag}') == 304
    assert await status("*") == 304
    assert await status(etag, ".status") == 304
    assert await status('"other"') == 200
    await text(client)
    await catch_up()
    assert await status(etag) == 200


@pytest.mark.usefixtures("projector")
async def test_min_position_waits_until_it_is_projected(
    client: Client,
) -> None:
    """A read that names an acknowledged position sees its event."""
    for position in range(1, 6):
        await text(client, "STOP" if position % 2 else "START")
        found = await ask(client, path_of(rest=f"?minPosition={position}"))
        assert found["version"] == position


@pytest.mark.usefixtures("projector")
async def test_min_position_begins_to_wait_before_it_is_there(
    client: Client,
) -> None:
    """A read may name a position that is not given yet, and waits until it is."""
    reading = asyncio.create_task(ask(client, path_of(rest="?minPosition=1")))
    await text(client)
    assert (await reading)["position"] == 1


@pytest.mark.parametrize("rest", ["", "/history"])
async def test_a_position_that_is_not_reached_in_time_is_503(
    dsn: str, aiohttp_client: Callable[..., Awaitable[Client]], rest: str
) -> None:
    """Not projected yet is 503 with Retry-After, and never an older answer."""
    settings = settings_for(dsn, LEDGER_WAIT_SECONDS_MAX="0.05")
    client = await aiohttp_client(await make_app(dsn, settings))
    await text(client)
    response = await client.get(path_of(rest=f"{rest}?minPosition=1"), headers=bearer())
    assert await refusal(response) == (503, "not_yet_projected")
    assert int(response.headers["Retry-After"]) >= 1


async def test_a_query_that_is_not_understood_is_400(
    client: Client, catch_up: CatchUp
) -> None:
    """What is unknown, repeated or no position is refused, not ignored."""
    await text(client)
    await catch_up()
    for query in NOT_UNDERSTOOD:
        response = await client.get(path_of(rest=f"?{query}"), headers=bearer())
        assert await refusal(response) == (400, "invalid_query"), query


async def test_many_readers_at_once_each_get_their_own(
    client: Client, catch_up: CatchUp
) -> None:
    """Reads that share a query are not mixed up."""
    numbers = [f"+1415555{n:04}" for n in range(40)]
    for number in numbers[::2]:
        await text(client, From=number)
    await catch_up()

    async def read(number: str) -> tuple[int, Any]:
        response = await client.get(path_of(number), headers=bearer())
        return response.status, (await response.json()).get("phoneNumber")

    answers = await asyncio.gather(*map(read, numbers))
    assert answers[::2] == [(200, number) for number in numbers[::2]]
    assert answers[1::2] == [(404, None)] * 20
