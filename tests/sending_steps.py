"""What tests of sending do again and again: ask for a text, see what is there."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import ClientResponse
from builders import NUMBER, SENDER, bearer
from conftest import Client
from twilio_api.standin import StandIn

from ledger.store.database import Connection

SERVICE: Final = f"MG{'5' * 32}"
TEMPLATE: Final = f"HX{'7' * 32}"
LATER: Final = "2099-01-31T12:00:00Z"

Start = Callable[..., Awaitable[Client]]


def sending_settings(standin: StandIn, **more: str) -> dict[str, str]:
    """Settings with which the stand-in is asked, and nothing is settled by itself."""
    return {
        "LEDGER_TWILIO_API_URL": standin.url,
        "LEDGER_TWILIO_TIMEOUT_SECONDS": "0.3",
        "LEDGER_SENDER": SENDER,
        "LEDGER_SETTLE_IN_SERVE": "false",
        # No projector runs: what waits for one waits in vain.
        "LEDGER_WAIT_SECONDS_MAX": "0.1",
        **more,
    }


async def post(client: Client, key: str | None = None, **more: Any) -> ClientResponse:
    """Ask for a text to ``NUMBER``."""
    wish = {"to": NUMBER, "body": "Hello"} | more
    named = {"Idempotency-Key": key} if key else {}
    given = {n: v for n, v in wish.items() if v is not None}
    return await client.post("/Messages", json=given, headers=bearer() | named)


async def post_scheduled(client: Client, **more: Any) -> dict[str, Any]:
    """Have a text scheduled, far from now; as it is answered."""
    given = {"messagingServiceSid": SERVICE, "sendAt": LATER} | more
    response = await post(client, **given)
    assert response.status == 201
    shown: dict[str, Any] = await response.json()
    return shown


async def kinds(connection: Connection) -> list[str]:
    """What is recorded of outgoing texts, in its order."""
    rows = await connection.fetch(
        """
        SELECT split_part(topic, ':', 2) AS kind FROM ledger_events
        WHERE topic LIKE '%:Message%' AND topic NOT LIKE '%Received'
        ORDER BY notification_id
        """
    )
    return [row["kind"] for row in rows]
