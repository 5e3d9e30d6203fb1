"""kill -9 in the middle of a send: one text at most, and the ledger says which."""

import asyncio
from contextlib import suppress
from typing import Final

import aiohttp
from builders import ACCOUNT_SID, AUTH_TOKEN, NUMBER, SENDER, bearer
from e2e.processes import Service, eventually, kill, new_folder, running
from twilio_api import faults
from twilio_api.documents import Account
from twilio_api.messages import sent
from twilio_api.standin import StandIn

SETTINGS: Final = {
    "LEDGER_SENDER": SENDER,
    "LEDGER_SEND_TO_UNKNOWN": "true",
    "LEDGER_SEND_SECONDS_MAX": "1",
    "LEDGER_SETTLE_SECONDS": "2",
    "LEDGER_WORKERS": "1",
}


async def post(service: Service, key: str) -> tuple[int, str]:
    """Ask for a text; the answer's status, and what became of it."""
    async with (
        aiohttp.ClientSession(headers=bearer()) as session,
        session.post(
            f"{service.url}/Messages",
            json={"to": NUMBER, "body": key},
            headers={"Idempotency-Key": key},
        ) as answer,
    ):
        shown = await answer.json()
        return answer.status, shown.get("code") or shown["status"]


async def killed_while_sending(service: Service, standin: StandIn, key: str) -> None:
    """Ask for a text, and kill the web process while Twilio is being asked."""
    before = len(standin.received)
    asking = asyncio.create_task(post(service, key))
    await eventually(lambda: len(standin.received) > before)
    for process in service.web_processes():
        kill(process)
    with suppress(aiohttp.ClientError):
        await asking
    await service.ready()


async def test_a_kill_while_twilio_is_asked_sends_once() -> None:
    """Twilio has it, or has not: it is found out, and a repeat sends nothing."""
    account = Account(ACCOUNT_SID, [AUTH_TOKEN])
    async with StandIn(account) as standin:
        with new_folder() as folder:
            where = {"LEDGER_TWILIO_API_URL": standin.url}
            with running(folder, SETTINGS | where) as service:
                await service.ready()
                for key, done in (("taken", True), ("lost", False)):
                    standin.fail(faults.slow, done=done)
                    await killed_while_sending(service, standin, key)
                await _becomes(service, "taken", (200, "queued"))
                await _becomes(service, "lost", (502, "message_failed"))
    assert [message["body"] for message in sent(account)] == ["taken"]
    posts = [each for each in standin.received if each.method == "POST"]
    assert len(posts) == 2


async def _becomes(service: Service, key: str, expected: tuple[int, str]) -> None:
    async def is_so() -> bool:
        return await post(service, key) == expected

    await eventually(is_so)
