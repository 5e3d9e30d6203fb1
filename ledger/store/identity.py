"""From a phone number to its subject: the only place where ``subject_id`` is made.

A keyed HMAC and not a hash: there are about 10^10 phone numbers, so a plain or salted
hash of one is found by trying them all within minutes. The key is made once, with the
database, and read at start; never logged, never sent.
"""

import hashlib
import hmac
import secrets
from uuid import UUID

from ledger.domain.ids import PhoneNumber, SubjectId
from ledger.store.database import Connection, Pool, translated
from ledger.store.statements import statement

_INSERT_KEY = statement("ledger.store", "insert_identity_key")
_READ_KEY = statement("ledger.store", "read_identity_key")


class Identity:
    """Makes subject ids with one secret."""

    def __init__(self, secret: bytes) -> None:
        self._keyed = hmac.new(secret, digestmod=hashlib.sha256)

    def subject_id(self, phone_number: PhoneNumber) -> SubjectId:
        """The subject behind a canonical number: a UUID of version 8 (RFC 9562)."""
        keyed = self._keyed.copy()
        keyed.update(phone_number.encode("utf-8", "surrogatepass"))
        value = bytearray(keyed.digest()[:16])
        value[6] = 0x80 | value[6] & 0x0F
        value[8] = 0x80 | value[8] & 0x3F
        return SubjectId(UUID(bytes=bytes(value)))


async def create_identity_key(connection: Connection) -> None:
    """Make the secret of a new ledger; does nothing where there is one."""
    with translated():
        await connection.execute(_INSERT_KEY, secrets.token_bytes(32))


class IdentityLoader:
    """The identity of this ledger, read when it is first needed.

    So a service can start while its database is down, and answers as soon as it is up.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._identity: Identity | None = None

    async def load(self) -> Identity:
        """Read the secret, once.

        Raises:
            StoreUnavailable: the database cannot be read now.
        """
        if self._identity is None:
            with translated():
                self._identity = Identity(await self._pool.fetchval(_READ_KEY))
        return self._identity
