"""Who asks: API keys and what their roles allow.

A key is 256 random bits, shown once; the database keeps its SHA-256. Never logs one.
The subtle part is the cache: a key that was checked is trusted for a few seconds, so
that a busy reader costs no query a request; a revoked key works that much longer.
"""

import base64
import hashlib
import hmac
import re
import secrets
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, get_args

import asyncpg
from aiohttp import web

from ledger.errors import Forbidden, InvalidKey, NotFound, Unauthenticated
from ledger.settings import Settings
from ledger.store.database import Connection, Pool, translated
from ledger.store.statements import statement

Role = Literal["reader", "writer", "auditor", "admin"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)

READ: Final[frozenset[Role]] = frozenset(ROLES)
WRITE: Final[frozenset[Role]] = frozenset(("writer", "admin"))
ERASE: Final[frozenset[Role]] = frozenset(("admin",))
AUDIT: Final[frozenset[Role]] = frozenset(("auditor", "admin"))

_FIND = statement("ledger.api", "find_api_key")
_INSERT = statement("ledger.api", "insert_api_key")
_LIST = statement("ledger.api", "list_api_keys")
_REVOKE = statement("ledger.api", "revoke_api_key")

_CACHED_MAX = 10_000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,99}", re.ASCII)

ADMIN_KEY_NAME: Final = "LEDGER_ADMIN_KEY"
"""Who acts with the key of that setting; no other key may have the name."""


@dataclass(frozen=True, slots=True)
class Principal:
    """A key's name and role."""

    name: str
    role: Role


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A key as it is listed: everything but the secret."""

    name: str
    role: Role
    created_at: datetime
    revoked_at: datetime | None


class Keys:
    """Checks the keys of requests."""

    def __init__(self, pool: Pool, settings: Settings) -> None:
        self._pool = pool
        self._seconds = settings.key_cache_seconds
        self._admin = (
            _digest(settings.admin_key.get_secret_value())
            if (settings.admin_key)
            else None
        )
        self._checked: dict[str, tuple[Principal, float]] = {}

    async def require(self, request: web.Request, roles: frozenset[Role]) -> Principal:
        """Who asks, if their role is one of ``roles``.

        Raises:
            Unauthenticated: there is no key, or not one of ours.
            Forbidden: the key's role is another.
            StoreUnavailable: the key could not be looked up.
        """
        return await self.require_header(request.headers.get("Authorization"), roles)

    async def require_header(
        self, header: str | None, roles: frozenset[Role]
    ) -> Principal:
        """As ``require``, by what is in the header."""
        if header is None:
            raise Unauthenticated("send Authorization: Bearer <key>")
        principal = self._remembered(header) or await self._check(header)
        if principal.role not in roles:
            allowed = ", ".join(sorted(roles))
            raise Forbidden(f"the key is a {principal.role}'s; needed: {allowed}")
        return principal

    def may(self, header: str | None, roles: frozenset[Role]) -> bool:
        """Whether that is remembered of who asks; if not, ``require`` says."""
        principal = None if header is None else self._remembered(header)
        return principal is not None and principal.role in roles

    def _remembered(self, header: str) -> Principal | None:
        cached = self._checked.get(header)
        if cached is None or cached[1] < time.monotonic():
            return None
        return cached[0]

    async def _check(self, header: str) -> Principal:
        digest = _digest(_secret_in(header))
        if self._admin is not None and hmac.compare_digest(digest, self._admin):
            principal = Principal(ADMIN_KEY_NAME, "admin")
        else:
            with translated():
                row = await self._pool.fetchrow(_FIND, digest)
            if row is None:
                raise Unauthenticated("this key is not known, or was revoked")
            principal = Principal(*row)
        if len(self._checked) >= _CACHED_MAX:
            self._checked.clear()
        self._checked[header] = (principal, time.monotonic() + self._seconds)
        return principal


async def create_key(connection: Connection, name: str, role: Role) -> str:
    """Make a key; its secret, which cannot be shown again.

    Raises:
        InvalidKey: the name is taken, reserved, or could be misread in the ledger,
            where it stays for ever.
    """
    if not _NAME.fullmatch(name) or name == ADMIN_KEY_NAME:
        raise InvalidKey(
            "a name is 1 to 100 letters, digits and . _ @ -, begins with a letter or "
            f"a digit, and is not {ADMIN_KEY_NAME}"
        )
    secret = f"clk_{secrets.token_urlsafe(32)}"
    try:
        with translated():
            await connection.execute(_INSERT, name, _digest(secret), role)
    except asyncpg.UniqueViolationError:
        raise InvalidKey(f"there is a key named {name!r} already") from None
    return secret


async def list_keys(connection: Connection) -> list[KeyRecord]:
    """Every key that was ever made, oldest first."""
    with translated():
        return [KeyRecord(*row) for row in await connection.fetch(_LIST)]


async def revoke_key(connection: Connection, name: str) -> None:
    """Refuse a key from now on.

    Raises:
        NotFound: there is no such key that is not revoked.
    """
    with translated():
        if await connection.fetchval(_REVOKE, name) is None:
            raise NotFound(f"there is no key named {name!r} in force")


def _secret_in(header: str) -> str:
    scheme, _, given = header.partition(" ")
    match scheme.lower():
        case "bearer":
            return given.strip()
        case "basic":
            return _basic_password(given)
        case _:
            raise Unauthenticated("send Authorization: Bearer <key>, or Basic")


def _basic_password(given: str) -> str:
    try:
        decoded = base64.b64decode(given, validate=True).decode()
    except ValueError:  # not base64, not ASCII, or not UTF-8 inside
        raise Unauthenticated("the Basic credentials cannot be decoded") from None
    return decoded.partition(":")[2]


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()
