"""Who may do what: keys, roles and how they are refused."""

import base64
from collections.abc import Awaitable, Callable

import pytest
from api_steps import CONSENT, basic, key_of, path_of, refusal
from builders import ADMIN_KEY, bearer
from conftest import Client, settings_for

from ledger.api.keys import ROLES, Role, revoke_key
from ledger.app import make_app
from ledger.store.database import Connection

READERS = ("reader", "writer", "auditor", "admin")
WRITERS = ("writer", "admin")

# Method, path, who may. What is there to find does not matter: 401 and 403 come first.
ROUTES = [
    ("GET", path_of(), READERS),
    ("HEAD", path_of(), READERS),
    ("GET", path_of(rest="/history"), READERS),
    ("PUT", path_of(), WRITERS),
    ("PATCH", path_of(), WRITERS),
    ("POST", "/PhoneNumbers/", WRITERS),
    ("GET", "/openapi.json", READERS),
    ("GET", "/docs", READERS),
    ("GET", "/docs/docs.css", READERS),
    ("GET", "/docs/docs.js", READERS),
]
NO_KEYS = [
    "Bearer",
    "Bearer ",
    "Bearer not-a-key",
    f"Bearer {ADMIN_KEY}x",
    f"bearer{ADMIN_KEY}",
    f"Token {ADMIN_KEY}",
    ADMIN_KEY,
    "Basic",
    "Basic not base64",
    "Basic é",
    "Basic " + base64.b64encode(b"\xff\xfe").decode(),
    "Basic " + base64.b64encode(ADMIN_KEY.encode()).decode(),
    "Basic " + base64.b64encode(f"{ADMIN_KEY}:".encode()).decode(),
    "",
    "\x80",
]


@pytest.fixture
async def impatient(
    dsn: str, aiohttp_client: Callable[..., Awaitable[Client]]
) -> Client:
    """A client of an application that does not wait for projections or trust keys."""
    settings = settings_for(
        dsn, LEDGER_WAIT_SECONDS_MAX="0.01", LEDGER_KEY_CACHE_SECONDS="0"
    )
    return await aiohttp_client(await make_app(dsn, settings))


@pytest.mark.parametrize("role", ROLES)
async def test_a_role_may_do_what_it_may_and_nothing_else(
    impatient: Client, connection: Connection, role: Role
) -> None:
    """Each role passes on its routes, and is 403 on every other."""
    key = bearer(await key_of(connection, role))
    for method, path, allowed in ROUTES:
        body = {"phoneNumber": "+14155550111", **CONSENT}
        sent = body if method == "POST" else CONSENT
        json = sent if method in ("PUT", "PATCH", "POST") else None
        response = await impatient.request(method, path, headers=key, json=json)
        assert (response.status == 403) == (role not in allowed), (method, path)
        assert response.status in (200, 201, 202, 403, 404, 409), (method, path)
        if response.status == 403:
            assert await refusal(response) == (403, "forbidden")


async def test_without_a_key_there_is_nothing(client: Client) -> None:
    """No key is 401, whatever is asked, and says how to send one."""
    for method, path, _ in ROUTES:
        response = await client.request(method, path)
        assert response.status == 401, (method, path)
        schemes = {v.split()[0] for v in response.headers.getall("WWW-Authenticate")}
        assert schemes == {"Basic", "Bearer"}
        if method != "HEAD":
            assert await refusal(response) == (401, "unauthenticated")


async def test_what_is_no_key_is_refused(client: Client) -> None:
    """A header that holds no key of ours is 401, never a fault."""
    for header in NO_KEYS:
        response = await client.get(path_of(), headers={"Authorization": header})
        assert await refusal(response) == (401, "unauthenticated"), header


async def test_basic_carries_the_key_as_password(client: Client) -> None:
    """The password of Basic is the key, and the name says nothing."""
    for name in ("", "anyone", "x y"):
        headers = basic(ADMIN_KEY, name)
        assert (await client.get("/openapi.json", headers=headers)).status == 200


async def test_the_scheme_is_known_in_any_case(client: Client) -> None:
    """HTTP's schemes are the same in small and capital letters."""
    for scheme in ("Bearer", "bearer", "BEARER"):
        headers = {"Authorization": f"{scheme} {ADMIN_KEY}"}
        assert (await client.get("/openapi.json", headers=headers)).status == 200


async def test_a_revoked_key_is_refused(
    impatient: Client, connection: Connection
) -> None:
    """Without a cache, a key is refused from the moment it is revoked."""
    key = bearer(await key_of(connection, "reader"))
    assert (await impatient.get("/openapi.json", headers=key)).status == 200
    await revoke_key(connection, "reader")
    response = await impatient.get("/openapi.json", headers=key)
    assert await refusal(response) == (401, "unauthenticated")


async def test_keys_are_kept_hashed(connection: Connection) -> None:
    """Nothing in the table of keys is the secret."""
    secret = await key_of(connection, "writer")
    rows = await connection.fetch("SELECT * FROM api_keys")
    assert len(rows) == 1
    assert secret not in str([tuple(row) for row in rows])
    assert secret.encode() not in rows[0]["secret_sha256"]
