"""``POST /PhoneNumbers/check``: a list, answered as each number is by itself."""

import asyncio
import csv
from datetime import timedelta
from io import BytesIO, StringIO
from typing import Any

import pytest
from aiohttp import ClientResponse
from api_steps import count_events, key_of, record, refusal, text
from builders import NUMBER, SENDER, bearer, signal
from conftest import CatchUp, Client, settings_for

from ledger.api.check_reader import LISTS_WAITING_MAX, CheckQuestion, CheckReader
from ledger.api.read_model import ReadModel
from ledger.api.serving import Serving
from ledger.command_handler import CommandHandler
from ledger.domain.ids import PhoneNumber
from ledger.erasure import Erasures
from ledger.errors import StoreUnavailable, TryAgain
from ledger.store.database import Connection, Pool
from ledger.store.keyring import Keyring
from ledger.store.subscription import Doorbell

CHECK = "/PhoneNumbers/check"
OTHER = PhoneNumber("+14155550101")
NOBODY = "+14155550102"
TABLE = {"Content-Type": "text/csv"}


async def post(client: Client, body: object, **headers: str) -> ClientResponse:
    """A JSON list."""
    return await client.post(CHECK, json=body, headers=bearer() | headers)


async def answered(client: Client, *numbers: object, **asked: object) -> Any:
    """What is answered, which must be 200."""
    response = await post(client, {"phoneNumbers": numbers, **asked})
    assert response.status == 200, await response.text()
    return await response.json()


async def upload(client: Client, content: str | bytes, query: str = "") -> Any:
    """What is answered to a table."""
    response = await client.post(CHECK + query, data=content, headers=bearer() | TABLE)
    return await response.json()


async def test_each_number_is_answered_in_order(
    client: Client, handler: CommandHandler, catch_up: CatchUp
) -> None:
    """With what decides, twice if it is there twice, and at one position."""
    await handler.handle(signal())
    await handler.handle(signal(phone_number=OTHER, status="in"))
    await catch_up()
    given = [OTHER, "+1 (415) 555-0100", NOBODY, OTHER, "not a number", "4155550100"]
    found = await answered(client, *given, sender=SENDER)
    results = found["results"]
    assert (found["position"], found["sender"]) == (2, SENDER)
    assert (found["asOf"], found["knownAt"]) == (None, None)
    assert [one["given"] for one in results] == given
    assert [one["status"] for one in results] == [
        *("in", "out", "unknown", "in"),
        *(None, None),
    ]
    assert [one["position"] for one in results] == [2, 1, None, 2, None, None]
    assert [one["phoneNumber"] for one in results[:2]] == [OTHER, NUMBER]
    errors = [one.get("error") for one in results]
    assert errors == [None] * 4 + ["invalid_phone_number"] * 2
    assert "receipt" not in found


@pytest.mark.parametrize("table", ['phone,a\n"+1415,Ann\n+2,B\n', 'phone\n"a "b" c"\n'])
async def test_a_table_whose_quotes_do_not_fit_is_refused(
    client: Client, table: str
) -> None:
    """Else the rows behind would be one cell, and their numbers never asked about."""
    response = await client.post(CHECK, data=table, headers=bearer() | TABLE)
    assert await refusal(response) == (400, "invalid_request")


async def test_a_version_that_is_dropped_meanwhile_is_an_outage(
    client: Client, connection: Connection
) -> None:
    """Of a moment: the pointer was read before the tables went."""
    await connection.execute("DROP TABLE phone_numbers_v1, phone_number_senders_v1")
    response = await post(client, {"phoneNumbers": [NUMBER]})
    assert await refusal(response) == (503, "store_unavailable")


async def test_what_is_recorded_while_it_waits_does_not_matter(
    client: Client,
    handler: CommandHandler,
    catch_up: CatchUp,
    connection: Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was not known at the time that is asked for, and the answer is whole."""
    await handler.handle(signal())
    known_at = await connection.fetchval("SELECT clock_timestamp()")
    wait_for = ReadModel.wait_for

    async def busy(model: ReadModel, position: Any, projection: str) -> None:
        await catch_up()
        await wait_for(model, position, projection)
        await handler.handle(signal(status="in"))

    monkeypatch.setattr(ReadModel, "wait_for", busy)
    found = await answered(client, NUMBER, NOBODY, knownAt=known_at.isoformat())
    assert [one["status"] for one in found["results"]] == ["out", "unknown"]


async def test_what_is_no_text_is_marked_and_not_fatal(client: Client) -> None:
    """A null in somebody's table does not stop the rest."""
    given: list[object] = [None, 14155550100, True, {}, [], "", " ", "\0", NUMBER]
    found = await answered(client, *given)
    assert [one["given"] for one in found["results"]] == given
    marked = [one.get("error") for one in found["results"]]
    assert marked == ["invalid_phone_number"] * 8 + [None]


async def test_an_address_that_said_stop_is_no_malformed_number(
    client: Client, handler: CommandHandler, catch_up: CatchUp
) -> None:
    """A STOP was recorded under it, whatever it looks like."""
    await handler.handle(signal(phone_number="12345"))
    await catch_up()
    found = await answered(client, "12345", "12346", region="DE")
    assert [one["status"] for one in found["results"]] == ["out", None]


async def test_a_region_tells_what_a_national_number_means(
    client: Client, handler: CommandHandler, catch_up: CatchUp
) -> None:
    """And never changes what one in E.164 is."""
    await handler.handle(signal())
    await catch_up()
    given = ("4155550100", "(415) 555-0100", NUMBER)
    american = await answered(client, *given, region="us")
    assert [one["status"] for one in american["results"]] == ["out"] * 3
    british = await answered(client, *given, region="GB")
    assert [one["status"] for one in british["results"]] == [None, None, "out"]


async def test_everybody_is_asked_for_without_a_sender(
    client: Client, handler: CommandHandler, catch_up: CatchUp
) -> None:
    """Out where it is out for anybody; and doubt is a no for a sender, too."""
    await handler.handle(signal(sender="MG1", status="in"))
    await handler.handle(signal(sender="MG2", status="out"))
    await catch_up()
    for sender, status, position in (
        (None, "out", 2),
        ("MG1", "in", 1),
        ("MG2", "out", 2),
        ("MG3", "out", 2),
    ):
        found = await answered(client, NUMBER, sender=sender)
        one = found["results"][0]
        assert (one["status"], one["position"]) == (status, position), sender


async def test_of_an_erased_number_the_duty_is_answered(
    client: Client, handler: CommandHandler, erasures: Erasures, catch_up: CatchUp
) -> None:
    """Of a second time as well, and of who has returned what it says since."""
    await handler.handle(signal())
    await handler.handle(signal(phone_number=OTHER, status="in"))
    for _ in range(2):
        await erasures.erase(NUMBER, reason="asked", actor="cli")
        await erasures.erase(OTHER, reason="asked", actor="cli")
        found = await answered(client, NUMBER, OTHER)
        assert [one["status"] for one in found["results"]] == ["out", "unknown"]
        assert [one["erased"] for one in found["results"]] == [True, True]
        await handler.handle(signal(sender="MG1", status="in"))
        await handler.handle(signal(phone_number=OTHER, sender="MG1", status="in"))
        await catch_up()
        found = await answered(client, NUMBER, OTHER, sender="MG1")
        assert [one["status"] for one in found["results"]] == ["in", "in"]
        found = await answered(client, NUMBER, OTHER, sender="MG2")
        assert [one["status"] for one in found["results"]] == ["out", "unknown"]


@pytest.mark.usefixtures("projector")
async def test_the_past_is_asked_for_as_of_one_number(
    client: Client, connection: Connection
) -> None:
    """By when people acted, by what was known, and a day in a zone."""
    await text(client, "START")
    known_at = await connection.fetchval("SELECT clock_timestamp()")
    await text(client, "STOP")
    then = await answered(client, NUMBER, NOBODY, knownAt=known_at.isoformat())
    assert [one["status"] for one in then["results"]] == ["in", "unknown"]
    assert then["position"] == 2
    early = (known_at - timedelta(days=1)).isoformat()
    assert (await answered(client, NUMBER, asOf=early))["results"][0] == {
        "phoneNumber": NUMBER,
        "given": NUMBER,
        "status": "unknown",
        "position": None,
        "since": None,
    }
    day = await answered(client, NUMBER, asOf="2020-01-31", tz="America/New_York")
    assert day["asOf"] == "2020-02-01T04:59:59.999999Z"


async def test_what_was_known_waits_for_the_history(
    client: Client, handler: CommandHandler, connection: Connection, catch_up: CatchUp
) -> None:
    """Else what was recorded and is not in it yet would be missing for once."""
    await handler.handle(signal())
    known_at = await connection.fetchval("SELECT clock_timestamp()")
    asked = {"phoneNumbers": [NUMBER], "knownAt": known_at.isoformat()}
    waiting = asyncio.create_task(post(client, asked))
    await catch_up()
    found = await (await waiting).json()
    assert (found["results"][0]["status"], found["position"]) == ("out", 1)


async def test_a_position_is_waited_for(
    client: Client, handler: CommandHandler, catch_up: CatchUp
) -> None:
    """So who has just recorded something sees it counted."""
    await handler.handle(signal())
    asked = {"phoneNumbers": [NUMBER], "minPosition": 1}
    waiting = asyncio.create_task(post(client, asked))
    await catch_up()
    assert (await (await waiting).json())["results"][0]["status"] == "out"


async def test_a_table_is_answered_as_json_is(
    client: Client, handler: CommandHandler, catch_up: CatchUp
) -> None:
    """Its column is found by its name, and the query has what is asked."""
    await handler.handle(signal(sender="+14155550199"))
    await catch_up()
    table = f'\ufeffname;"Phone Number"\r\n"A;b";{NUMBER}\r\n\r\nx\r\ny;+1 415\r\n'
    found = await upload(client, table, "?sender=+14155550199&minPosition=1&region=US")
    assert [one["given"] for one in found["results"]] == [NUMBER, "", "+1 415"]
    assert [one["status"] for one in found["results"]] == ["out", None, None]
    assert found["sender"] == "+14155550199"


async def test_the_answer_can_be_a_table(
    client: Client, handler: CommandHandler, catch_up: CatchUp
) -> None:
    """A row for each number, in which no spreadsheet finds a formula."""
    await handler.handle(signal())
    await catch_up()
    asked = {"phoneNumbers": [NUMBER, "=1+1"]}
    response = await post(client, asked, Accept="text/csv")
    assert response.content_type == "text/csv"
    [first, second] = csv.DictReader(StringIO(await response.text()))
    assert (first["status"], first["position"], first["readPosition"]) == (
        *("out", "1"),
        "1",
    )
    assert (second["given"], second["error"]) == ("'=1+1", "invalid_phone_number")


async def test_a_list_of_ten_thousand_is_answered_and_one_more_is_not(
    client: Client,
) -> None:
    """Though its body is larger than what other routes read."""
    numbers = [f"+1415{n:07}" for n in range(10_000)]
    assert len((await answered(client, *numbers))["results"]) == 10_000
    response = await post(client, {"phoneNumbers": [*numbers, NUMBER]})
    assert await refusal(response) == (400, "too_many_numbers")


REFUSED: list[tuple[object, tuple[int, str]]] = [
    ({}, (400, "invalid_request")),
    ([], (400, "invalid_request")),
    ({"phoneNumbers": NUMBER}, (400, "invalid_request")),
    ({"phoneNumbers": [], "senders": "MG1"}, (400, "invalid_request")),
    ({"phoneNumbers": [], "sender": ""}, (400, "invalid_request")),
    ({"phoneNumbers": [], "record": "true"}, (400, "invalid_request")),
    ({"phoneNumbers": [], "minPosition": -1}, (400, "invalid_request")),
    ({"phoneNumbers": [], "region": "usa"}, (400, "invalid_request")),
    ({"phoneNumbers": [], "region": "XX"}, (400, "unknown_region")),
    ({"phoneNumbers": [], "asOf": "2026-02-30"}, (400, "invalid_moment")),
    ({"phoneNumbers": [], "asOf": "2999-01-01"}, (400, "future_moment")),
    ({"phoneNumbers": [], "knownAt": "2999-01-01"}, (400, "future_moment")),
    ({"phoneNumbers": [], "tz": "UTC"}, (400, "invalid_query")),
    (
        {"phoneNumbers": [], "asOf": "2020-01-01", "tz": "Nowhere"},
        (400, "unknown_time_zone"),
    ),
]


@pytest.mark.parametrize(("body", "expected"), REFUSED)
async def test_what_is_asked_must_be_understood(
    client: Client, body: object, expected: tuple[int, str]
) -> None:
    """A parameter that is wrong is fatal, as no number is."""
    assert await refusal(await post(client, body)) == expected


TABLES: list[tuple[bytes, str, str]] = [
    (b"", "", "no_number_column"),
    (b"name\nx\n", "", "no_number_column"),
    (b"phone,mobile\n", "", "no_number_column"),
    (b"phone\n\xff\n", "", "invalid_request"),
    (b'phone\n"%b"\n' % (b"x" * 200_000), "", "invalid_request"),
    (b"phone\n", "?record=1", "invalid_query"),
    (b"phone\n", "?minPosition=x", "invalid_query"),
    (b"phone\n", "?sender=", "invalid_query"),
    (b"phone\n", "?limit=1", "invalid_query"),
    (b"phone\n", "?minPosition=99999999999999999999", "invalid_request"),
]


@pytest.mark.parametrize(("table", "query", "code"), TABLES)
async def test_a_table_must_be_understood(
    client: Client, table: bytes, query: str, code: str
) -> None:
    """Which column is meant is never guessed."""
    assert (await upload(client, table, query))["code"] == code


async def test_a_body_is_json_or_a_table(client: Client) -> None:
    """And JSON has everything in the body."""
    refused = await client.post(CHECK, data={"a": "b"}, headers=bearer())
    assert await refusal(refused) == (415, "unsupported_media_type")
    refused = await client.post(f"{CHECK}?region=US", json={}, headers=bearer())
    assert await refusal(refused) == (400, "invalid_query")
    broken = {"Content-Type": "application/json"}
    refused = await client.post(CHECK, data="{", headers=bearer() | broken)
    assert await refusal(refused) == (400, "invalid_request")
    refused = await post(client, {"phoneNumbers": []}, Accept="image/png")
    assert await refusal(refused) == (406, "not_acceptable")


async def test_a_body_has_a_limit_of_its_own(client: Client) -> None:
    """LEDGER_CHECK_BODY_BYTES_MAX, and not that of other routes."""
    body = BytesIO(b'{"phoneNumbers": ["%b"]}' % (b"x" * 4_194_304))
    sent = bearer() | {"Content-Type": "application/json"}
    response = await client.post(CHECK, data=body, headers=sent)
    assert await refusal(response) == (413, "body_too_large")
    large = await record(client, {"status": "in", "evidence": {"a": "x" * 70_000}})
    assert await refusal(large) == (413, "body_too_large")


async def test_every_key_may_check_and_nobody_without_one(
    client: Client, connection: Connection
) -> None:
    """A check reads, and is no more than reading number by number."""
    reader = bearer(await key_of(connection, "reader"))
    asked = {"phoneNumbers": [NUMBER]}
    response = await client.post(CHECK, json=asked, headers=reader)
    assert response.status == 200
    response = await client.post(CHECK, json=asked)
    assert await refusal(response) == (401, "unauthenticated")
    assert await count_events(connection) == 0


def reader_on(dsn: str, pool: Pool, keyring: Keyring, **settings: str) -> CheckReader:
    """A reader with settings of its own."""
    given = settings_for(dsn, **settings)
    bell = Doorbell(dsn, "nothing", poll_seconds=1)
    return CheckReader(
        pool, keyring, ReadModel(pool, Serving(pool), keyring, bell, given), given
    )


async def test_lists_have_one_connection_and_their_turn(
    dsn: str, pool: Pool, keyring: Keyring
) -> None:
    """Too many at once are refused, and those that waited are answered."""
    reader = reader_on(dsn, pool, keyring)
    question = CheckQuestion(None)
    reads = [reader.read([NUMBER], question) for _ in range(LISTS_WAITING_MAX + 1)]
    answers = await asyncio.gather(*reads, return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, BaseException)]
    assert [type(one) for one in refused] == [TryAgain]
    assert (await reader.read([NUMBER], question)).position == 0


async def test_a_list_that_is_not_read_in_time_is_given_up(
    dsn: str, pool: Pool, keyring: Keyring, connection: Connection
) -> None:
    """And the next one has a connection all the same."""
    reader = reader_on(dsn, pool, keyring, LEDGER_STATEMENT_TIMEOUT_SECONDS="0.1")
    await keyring.identity()
    async with connection.transaction():
        await connection.execute("LOCK phone_number_senders_v1")
        with pytest.raises(StoreUnavailable):
            await reader.read([NUMBER], CheckQuestion(None))
    assert (await reader.read([NUMBER], CheckQuestion(None))).position == 0


async def test_all_numbers_are_read_of_one_snapshot(
    dsn: str, pool: Pool, keyring: Keyring, handler: CommandHandler, catch_up: CatchUp
) -> None:
    """What is projected between two statements counts for none of them."""
    many = [PhoneNumber(f"+1415{n:07}") for n in range(1_200)]
    reader = reader_on(dsn, pool, keyring)
    stopping = _AfterTheFirstStatement(pool, handler, catch_up, many)
    reader._pool = stopping  # type: ignore[assignment]  # noqa: SLF001
    reading = await reader.read(many, CheckQuestion(None))
    assert stopping.is_done
    assert reading.position == 0
    assert {said.status for said in reading.said.values()} == {"unknown"}
    reading = await reader_on(dsn, pool, keyring).read(many, CheckQuestion(None))
    assert {said.status for said in reading.said.values()} == {"out"}


class _AfterTheFirstStatement:
    """A pool whose first connection lets everybody say STOP after a statement."""

    def __init__(
        self,
        pool: Pool,
        handler: CommandHandler,
        catch_up: CatchUp,
        numbers: list[PhoneNumber],
    ) -> None:
        self._pool, self._handler, self._catch_up = pool, handler, catch_up
        self._numbers = numbers
        self.is_done = False

    def acquire(self) -> Any:
        context = self._pool.acquire()
        outer = self

        class Acquired:
            async def __aenter__(self) -> Any:
                return _Connection(await context.__aenter__(), outer)

            async def __aexit__(self, *error: object) -> None:
                await context.__aexit__(*error)

        return Acquired()

    async def stop_everybody(self) -> None:
        signals = [signal(phone_number=number) for number in self._numbers]
        await asyncio.gather(*map(self._handler.handle, signals))
        await self._catch_up()
        self.is_done = True


class _Connection:
    def __init__(self, connection: Any, pool: _AfterTheFirstStatement) -> None:
        self._connection, self._pool = connection, pool
        self._count = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    async def fetch(self, *arguments: Any) -> Any:
        rows = await self._connection.fetch(*arguments)
        self._count += 1
        if self._count == 3:
            await self._pool.stop_everybody()
        return rows
