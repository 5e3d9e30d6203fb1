"""What is refused, how, and that nothing is recorded then."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import ClientResponse
from api_steps import CONSENT, count_events, path_of, record, refusal, text
from builders import NUMBER, bearer, signed, text_form
from conftest import Client
from yarl import URL

from ledger.store.database import Connection


def nested(levels: int) -> Any:
    """An object in an object, and so on."""
    return json.loads('{"a":' * levels + "1" + "}" * levels)


NO_CONSENTS: list[Any] = [
    {},
    {"status": "banana"},
    {"status": ""},
    {"status": None},
    {"status": 1},
    {"status": "IN"},
    {"status": ["in"]},
    {"sender": "+14155550199"},
    {**CONSENT, "unknown": 1},
    {**CONSENT, "phone_number": NUMBER},
    {**CONSENT, "occurred_at": "2026-01-01T00:00:00Z"},
    {**CONSENT, "phoneNumber": "4155550100"},
    {**CONSENT, "sender": ""},
    {**CONSENT, "sender": None},
    {**CONSENT, "sender": "a\0b"},
    {**CONSENT, "sender": "x" * 257},
    {**CONSENT, "occurredAt": (datetime.now(UTC) + timedelta(hours=1)).isoformat()},
    {**CONSENT, "occurredAt": "9999-12-31T23:59:59Z"},
    {**CONSENT, "occurredAt": "9999-12-31T23:59:59-01:00"},
    {**CONSENT, "occurredAt": "0001-01-01T00:00:00+01:00"},
    {**CONSENT, "occurredAt": "0000-01-01T00:00:00Z"},
    {**CONSENT, "occurredAt": "2026-01-01T00:00:00"},
    {**CONSENT, "occurredAt": "2026-01-01"},
    {**CONSENT, "occurredAt": "2026-02-30T00:00:00Z"},
    {**CONSENT, "occurredAt": "2026-01-01T25:00:00Z"},
    {**CONSENT, "occurredAt": "2026-01-01T00:00:00+99:00"},
    {**CONSENT, "occurredAt": "yesterday"},
    {**CONSENT, "occurredAt": ""},
    {**CONSENT, "occurredAt": 1700000000},
    {**CONSENT, "occurredAt": "1700000000"},
    {**CONSENT, "evidence": None},
    {**CONSENT, "evidence": "text"},
    {**CONSENT, "evidence": []},
    {**CONSENT, "evidence": {"_type_": "datetime_iso", "_data_": "x"}},
    {**CONSENT, "evidence": {"_": 1}},
    {**CONSENT, "evidence": {"form": [{"fields": {"_type_": "tuple_as_list"}}]}},
    {**CONSENT, "evidence": nested(33)},
    {**CONSENT, "evidence": nested(900)},
    [],
    [CONSENT, CONSENT],
    None,
    "in",
    1,
]


async def test_what_is_no_consent_is_422(
    client: Client, connection: Connection
) -> None:
    """A body that is JSON and no consent is refused, and nothing is recorded."""
    headers = bearer() | {"Content-Type": "application/json"}
    for consent in NO_CONSENTS:
        data = json.dumps(consent)
        response = await client.put(path_of(), data=data, headers=headers)
        assert await refusal(response) == (422, "invalid_consent"), consent
    for number in (
        None,
        "",
        "4155550100",
        "+1",
        "+14155550100\n",
        "12345",
        14155550100,
    ):
        body = {**CONSENT, "phoneNumber": number}
        response = await client.post("/PhoneNumbers/", json=body, headers=bearer())
        assert await refusal(response) == (422, "invalid_consent"), number
    response = await client.post("/PhoneNumbers/", json=CONSENT, headers=bearer())
    assert await refusal(response) == (422, "invalid_consent")
    assert await count_events(connection) == 0


async def test_a_refusal_says_which_field(client: Client) -> None:
    """The detail names the field, and does not repeat what was in it."""
    response = await record(client, {"status": "banana"})
    problem = await response.json()
    assert problem["detail"].startswith("status: ")
    assert "banana" not in problem["detail"]


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ("[]", "the body must be a JSON object"),
        (
            '{"status": "out", "occurredAt": "2026-01-31"}',
            "occurredAt: must be a time with an offset, such as 2026-01-31T12:00:00Z",
        ),
    ],
)
async def test_a_refusal_is_in_words_of_the_interface(
    client: Client, body: str, detail: str
) -> None:
    """No class of ours and no word of a library is in it."""
    headers = bearer() | {"Content-Type": "application/json"}
    response = await client.put(path_of(), data=body, headers=headers)
    assert (await response.json())["detail"] == detail


@pytest.mark.parametrize(
    "body", ["", "{", "null,", "{'status': 'in'}", '{"status": "in"', "\xff", "NaN"]
)
async def test_a_body_that_is_no_json_is_400(client: Client, body: str) -> None:
    """Bad JSON is the caller's error, 400, and no fault of ours."""
    headers = bearer() | {"Content-Type": "application/json"}
    data = body.encode("latin-1")
    response = await client.put(path_of(), data=data, headers=headers)
    assert await refusal(response) == (400, "invalid_request")


async def test_a_body_of_another_type_is_415(client: Client) -> None:
    """Only application/json is read, and no body is guessed at."""
    for content_type in ("text/plain", "text/csv", "application/x-www-form-urlencoded"):
        headers = bearer() | {"Content-Type": content_type}
        data = json.dumps(CONSENT)
        response = await client.put(path_of(), data=data, headers=headers)
        assert await refusal(response) == (415, "unsupported_media_type")
    response = await client.put(path_of(), headers=bearer())
    assert await refusal(response) == (415, "unsupported_media_type")


async def test_a_body_over_64_kib_is_413(
    client: Client, connection: Connection
) -> None:
    """A body that is larger than the limit is refused, with or without its length."""
    large = json.dumps({**CONSENT, "evidence": {"wording": "x" * 65_536}}).encode()

    async def chunked() -> Any:
        yield large

    headers = bearer() | {"Content-Type": "application/json"}
    for data in (large, chunked()):
        response = await client.put(path_of(), data=data, headers=headers)
        assert await refusal(response) == (413, "body_too_large")
    form = text_form("STOP" * 20_000)
    response = await client.post("/optInStatus", data=form, headers=signed(form))
    assert await refusal(response) == (413, "body_too_large")
    assert await count_events(connection) == 0


async def test_a_path_that_names_no_number_is_400(
    client: Client, connection: Connection
) -> None:
    """A consent can only be recorded for an E.164 number."""
    for number in ("14155550100", "12345", "name", "%2B0415555010", "%2B1", "%00", "+"):
        url = URL(f"/PhoneNumbers/{number}", encoded=True)
        response = await client.put(url, json=CONSENT, headers=bearer())
        assert await refusal(response) == (400, "invalid_phone_number"), number
    assert await count_events(connection) == 0


async def test_an_idempotency_key_must_be_printable(
    client: Client, connection: Connection
) -> None:
    """An empty, an endless or an unprintable key is refused before anything else."""
    for key in ("", "x" * 256, "a\tb", "\x80"):
        response = await record(client, Idempotency_Key=key)
        assert await refusal(response) == (400, "invalid_request"), key
    assert await count_events(connection) == 0


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/PhoneNumbers/", {"GET", "HEAD", "POST"}),
        ("POST", path_of(), {"GET", "HEAD", "PUT", "PATCH", "DELETE"}),
        ("PUT", path_of(rest="/history"), {"GET", "HEAD"}),
        ("POST", "/healthz", {"GET", "HEAD"}),
        ("OPTIONS", "/metrics", {"GET", "HEAD"}),
    ],
)
async def test_a_method_that_there_is_not_is_405(
    client: Client, method: str, path: str, allowed: set[str]
) -> None:
    """405 names, in Allow, exactly the methods that there are."""
    response = await client.request(method, path, headers=bearer())
    assert await refusal(response) == (405, "method_not_allowed")
    assert set(response.headers["Allow"].split(",")) == allowed


async def test_an_address_that_there_is_not_is_404(client: Client) -> None:
    """What is not routed is 404, as a problem document."""
    for path in ("/", "/phonenumbers/", "/docs/", "/docs/../x", "/PhoneNumbers/a/b"):
        response = await client.get(path, headers=bearer())
        assert await refusal(response) == (404, "not_found"), path


async def test_every_answer_has_a_request_id(client: Client) -> None:
    """The caller's own X-Request-Id comes back; without a fit one we make one."""

    async def answered(path: str, **headers: str) -> ClientResponse:
        return await client.get(path, headers=headers)

    given = {"X-Request-Id": "trace-7"}
    for path in ("/healthz", path_of(), "/nowhere"):
        response = await answered(path, **given)
        assert response.headers["X-Request-Id"] == "trace-7"
        made = (await answered(path)).headers["X-Request-Id"]
        assert made != (await answered(path)).headers["X-Request-Id"]
    for unfit in ("x" * 129, "+14155550100", "a b", ""):
        response = await answered("/healthz", **{"X-Request-Id": unfit})
        assert response.headers["X-Request-Id"] != unfit


async def test_a_number_is_no_sender_to_itself(
    client: Client, connection: Connection
) -> None:
    """Senders stay in clear for ever, and nobody asks their own consent."""
    for sender in (NUMBER, f"whatsapp:{NUMBER}"):
        answer = await record(client, {"status": "in", "sender": sender})
        assert await refusal(answer) == (422, "invalid_consent")
    await text(client, "STOP", To=NUMBER)
    assert await count_events(connection) == 1
    state = await connection.fetchval("SELECT state FROM ledger_events")
    assert b'"sender":"*"' in state
