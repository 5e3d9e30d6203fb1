"""Faults of HarperDB/twilio-sms, the peer, that are not to be found here.

Each test is one that the peer, HarperDB/twilio-sms e57831a, was seen to fail.
"""

import hashlib
import json

import pytest
from aiohttp import FormData, hdrs
from api_steps import CONSENT, ask, count_events, path_of, record, refusal
from builders import NUMBER, PATH, bearer, signed, text_form
from conftest import CatchUp, Client

from ledger.store.database import Connection

EMPTY_TWIML = '<?xml version="1.0" encoding="UTF-8"?><Response/>'


async def test_what_twilio_gets_for_a_text_is_an_empty_twiml(client: Client) -> None:
    """Recorded, repeated or of no consequence: 200 with XML, whatever is accepted.

    The peer answers JSON, 204 or, to ``Accept: text/xml``, 406.
    """
    stop = text_form("STOP")
    for form in (stop, stop, text_form("HELP"), text_form("hello"), text_form("")):
        for accept in ("text/xml", "application/json", "*/*", "image/png"):
            headers = signed(form) | {hdrs.ACCEPT: accept}
            response = await client.post(PATH, data=form, headers=headers)
            assert response.status == 200
            assert response.content_type == "text/xml"
            assert await response.text() == EMPTY_TWIML


async def test_a_refused_accept_is_not_a_recorded_one(
    client: Client, connection: Connection
) -> None:
    """What is recorded is never answered with an error because of Accept."""
    form = text_form("STOP")
    headers = signed(form) | {hdrs.ACCEPT: "text/xml"}
    assert (await client.post(PATH, data=form, headers=headers)).status == 200
    assert await count_events(connection) == 1


async def test_a_text_without_its_words_is_an_error(
    client: Client, connection: Connection
) -> None:
    """No From or no message: 422, and never a 200 that says failure."""
    for missing in ("From", "MessageSid"):
        form = text_form("STOP")
        # Twilio sends the message's SID under three names.
        names = [missing] if missing == "From" else [n for n in form if "Sid" in n]
        for name in names:
            if name != "AccountSid":
                del form[name]
        response = await client.post(PATH, data=form, headers=signed(form))
        assert await refusal(response) == (422, "unusable_text")
    blank = text_form("STOP", From="")
    response = await client.post(PATH, data=blank, headers=signed(blank))
    assert await refusal(response) == (422, "unusable_text")
    assert await count_events(connection) == 0


async def test_a_forged_signature_is_refused(
    client: Client, connection: Connection
) -> None:
    """Absent, empty, of another URL or of another body: 403, and nothing recorded."""
    form = text_form("STOP")
    forged = [
        {},
        {"X-Twilio-Signature": ""},
        {"X-Twilio-Signature": "forged"},
        {"X-Twilio-Signature": "é"},
        signed(form, path="/elsewhere"),
        signed(form | {"Body": "START"}),
        signed(form, token="another"),
    ]
    for headers in forged:
        response = await client.post(PATH, data=form, headers=headers)
        assert await refusal(response) == (403, "invalid_signature"), headers
        response = await client.get(PATH, params=form, headers=headers)
        assert await refusal(response) == (403, "invalid_signature"), headers
    response = await client.post(PATH, data=form, headers=bearer())
    assert await refusal(response) == (403, "invalid_signature")
    assert await count_events(connection) == 0


async def test_an_unreadable_webhook_is_no_fault(client: Client) -> None:
    """Empty, null and bad JSON bodies are refused; the peer answers 500."""
    for body in (b"", b"null", b"{", b"[]", b'"x"', b"\xff"):
        path = f"{PATH}?bodySHA256={_sha256(body)}"
        headers = {"Content-Type": "application/json", **signed({}, path=path)}
        response = await client.post(path, data=body, headers=headers)
        assert await refusal(response) in (
            (400, "invalid_request"),
            (403, "invalid_signature"),
        )
    response = await client.post(PATH, data=b"", headers=signed({}))
    assert response.status in (403, 415)
    multipart = FormData(text_form("STOP"), default_to_multipart=True)
    response = await client.post(PATH, data=multipart, headers=signed({}))
    assert await refusal(response) == (415, "unsupported_media_type")


def _sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


async def test_a_json_webhook_with_a_signed_hash_is_recorded(
    client: Client, connection: Connection
) -> None:
    """JSON is read where its hash is in the signed URL; a number is no fault."""
    for sender in (NUMBER, 12345):
        body = json.dumps({**text_form("STOP"), "From": sender}).encode()
        path = f"{PATH}?bodySHA256={_sha256(body)}"
        headers = {"Content-Type": "application/json", **signed({}, path=path)}
        response = await client.post(path, data=body, headers=headers)
        assert response.status == 200
    assert await count_events(connection) == 2


async def test_the_words_decide_without_opt_out_type(
    client: Client, catch_up: CatchUp
) -> None:
    """STOP and ARRET opt out though Twilio sent no OptOutType, as is its default."""
    for number, body in (("+14155550101", "Stop"), ("+14155550102", "ARRET")):
        form = text_form(body, From=number)
        await client.post(PATH, data=form, headers=signed(form))
        await catch_up()
        assert (await ask(client, path_of(number)))["status"] == "out"


async def test_a_repeated_message_cannot_change_its_mind(
    client: Client, connection: Connection, catch_up: CatchUp
) -> None:
    """The same MessageSid with the opposite word is the first one's repeat."""
    form = text_form("STOP")
    for body in ("STOP", "START"):
        sent = form | {"Body": body}
        response = await client.post(PATH, data=sent, headers=signed(sent))
        assert response.status == 200
    await catch_up()
    assert (await ask(client))["status"] == "out"
    assert await count_events(connection) == 1


async def test_consent_for_one_sender_is_not_consent_for_another(
    client: Client, catch_up: CatchUp
) -> None:
    """A START to one of our numbers leaves the STOP to another in force."""
    for body, to in (("STOP", "+14155550199"), ("START", "+14155550188")):
        form = text_form(body, To=to)
        await client.post(PATH, data=form, headers=signed(form))
    await catch_up()
    assert (await ask(client))["status"] == "out"
    assert await ask(client, path_of(rest=".status?sender=%2B14155550199")) == "out"


@pytest.mark.usefixtures("projector")
async def test_what_was_acknowledged_is_read(client: Client) -> None:
    """After a 200, a read of its position has it; of the peer's, 4 in 10 do not."""
    for position in range(1, 21):
        number = f"+141555501{position:02}"
        form = text_form("STOP", From=number)
        await client.post(PATH, data=form, headers=signed(form))
        path = path_of(number, f".status?minPosition={position}")
        assert await ask(client, path) == "out"


@pytest.mark.usefixtures("projector")
async def test_nothing_is_deleted(client: Client, connection: Connection) -> None:
    """DELETE of the collection or of a query is refused, as of a number for no reason.

    With a reason it erases a person, and still deletes no event.
    """
    await record(client)
    for path in ("/PhoneNumbers/", "/PhoneNumbers/?status=in"):
        response = await client.delete(path, headers=bearer())
        assert await refusal(response) == (405, "method_not_allowed")
    response = await client.delete(path_of(), headers=bearer())
    assert await refusal(response) == (400, "invalid_reason")
    assert (await ask(client))["status"] == "in"
    assert await count_events(connection) == 1


async def test_half_a_record_cannot_be_made(
    client: Client, connection: Connection
) -> None:
    """PATCH of an absent number without a whole consent is 422, and leaves nothing."""
    for consent in ({}, {"sender": "x"}, {"name": "Ann"}, {"status": "banana"}):
        response = await record(client, consent, method="PATCH")
        assert await refusal(response) == (422, "invalid_consent")
    response = await client.get(path_of(), headers=bearer())
    assert await refusal(response) == (404, "not_found")
    assert await count_events(connection) == 0


async def test_the_key_in_the_address_does_not_win_silently(client: Client) -> None:
    """A body that names another number is refused, not overruled."""
    response = await record(client, {**CONSENT, "phoneNumber": "+14155550101"})
    assert await refusal(response) == (422, "invalid_consent")


async def test_a_reader_cannot_learn_more_by_a_filter_than_by_reading(
    client: Client,
) -> None:
    """There is no role that may filter by what it may not read: without a key, 401."""
    response = await client.get("/PhoneNumbers/?status=out")
    assert await refusal(response) == (401, "unauthenticated")
