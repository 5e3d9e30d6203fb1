"""The webhook on a real database."""

from builders import NUMBER, PATH, bearer, signed, text_form
from conftest import CatchUp, Client


async def test_a_signed_stop_is_recorded_and_answered_with_an_empty_twiml(
    client: Client, catch_up: CatchUp
) -> None:
    """A signed STOP makes the number out, and Twilio is told to text nothing."""
    form = text_form("STOP")
    response = await client.post(PATH, data=form, headers=signed(form))
    assert response.status == 200
    assert response.content_type == "text/xml"
    assert await response.text() == '<?xml version="1.0" encoding="UTF-8"?><Response/>'
    await catch_up()
    record = await client.get(f"/PhoneNumbers/{NUMBER}", headers=bearer())
    assert (await record.json())["status"] == "out"
