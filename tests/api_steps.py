"""What tests of the API do again and again: text, record, ask, look at a refusal."""

import asyncio
import base64
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import ClientResponse
from builders import ADMIN_KEY, NUMBER, PATH, bearer, signed, text_form
from conftest import Client

from ledger.api.keys import Role, create_key
from ledger.store.database import Connection

CONSENT = {"status": "in", "sender": "+14155550199"}


def path_of(number: str = NUMBER, rest: str = "") -> str:
    """The address of a number's record, its plus encoded."""
    return f"/PhoneNumbers/%2B{number[1:]}{rest}"


def basic(key: str, name: str = "") -> dict[str, str]:
    """The header that carries an API key as a password."""
    credentials = base64.b64encode(f"{name}:{key}".encode()).decode()
    return {"Authorization": f"Basic {credentials}"}


async def text(client: Client, body: str = "STOP", **more: str) -> None:
    """A signed text that is answered 200."""
    form = text_form(body, **more)
    response = await client.post(PATH, data=form, headers=signed(form))
    assert response.status == 200


async def record(
    client: Client,
    consent: object = None,
    *,
    number: str = NUMBER,
    method: str = "PUT",
    **headers: str,
) -> ClientResponse:
    """An explicit consent, recorded by the admin; underscores in headers are dashes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.request(
        method,
        path_of(number),
        json=CONSENT if consent is None else consent,
        headers=bearer() | named,
    )


async def ask(
    client: Client, path: str | None = None, key: dict[str, str] | None = None
) -> Any:
    """What is answered, which must be 200."""
    response = await client.get(path or path_of(), headers=key or bearer())
    assert response.status == 200, await response.text()
    return await response.json()


async def refusal(response: ClientResponse) -> tuple[int, str]:
    """Status and code of a problem document that is as RFC 9457 has it."""
    assert response.content_type == "application/problem+json"
    problem = await response.json()
    assert problem["type"] == "about:blank"
    assert problem["title"]
    assert problem["status"] == response.status
    assert set(problem) <= {"type", "title", "status", "code", "detail"}
    return response.status, problem["code"]


async def key_of(connection: Connection, role: Role) -> str:
    """A new key with a role; its name is the role's."""
    return await create_key(connection, role, role)


async def count_events(connection: Connection) -> int:
    """How many events the ledger has."""
    return int(await connection.fetchval("SELECT count(*) FROM ledger_events"))


@asynccontextmanager
async def deaf(client: Client, path: str, **headers: str) -> AsyncIterator[None]:
    """A client that asks for very much and reads its first line alone."""
    connected = socket.socket()
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connected.setblocking(False)
    loop = asyncio.get_running_loop()
    asked = {"Host": "ledger", "Authorization": f"Bearer {ADMIN_KEY}", **headers}
    lines = [f"GET {path} HTTP/1.1", *(f"{n}: {v}" for n, v in asked.items()), "", ""]
    try:
        await loop.sock_connect(connected, ("127.0.0.1", client.port))
        await loop.sock_sendall(connected, "\r\n".join(lines).encode())
        assert await loop.sock_recv(connected, 12) == b"HTTP/1.1 200"
        yield
    finally:
        connected.close()


async def has_stopped_reading(client: Client, connection: Connection) -> bool:
    """Whether a client that does not read is waited for, and no transaction is open."""
    runner = client.server.runner
    assert runner is not None
    assert runner.server is not None
    if not any(handling.writing_paused for handling in runner.server.connections):
        return False
    return bool(
        await connection.fetchval(
            """SELECT bool_and(state = 'idle') FROM pg_stat_activity
            WHERE datname = current_database() AND application_name LIKE '%web'"""
        )
    )
