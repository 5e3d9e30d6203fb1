"""From a phone number to its subject: the only place where ``subject_id`` is made.

A keyed HMAC and not a hash: there are about 10^10 phone numbers, so a plain or salted
hash of one is found by trying them all within minutes. The subtle part is generations:
once a subject is erased, the same person's next signal begins another one.
"""

import hashlib
import hmac
from typing import Final

from asyncpg.pgproto.pgproto import UUID  # uuid.UUID in C: made ten times faster

from ledger.domain.ids import PhoneNumber, SubjectId

_SIGNAL: Final = b"ledger signal"  # at most 16 bytes, says BLAKE2b


class Identity:
    """Makes subject ids and signal keys with one secret of 32 bytes."""

    def __init__(self, secret: bytes) -> None:
        self._keyed = hmac.new(secret, digestmod=hashlib.sha256)
        self._signals = hashlib.blake2b(key=secret, digest_size=16, person=_SIGNAL)

    def subject_id(self, phone_number: PhoneNumber, generation: int = 0) -> SubjectId:
        """The subject behind a canonical number: a UUID of version 8 (RFC 9562).

        ``generation`` counts how many subjects of this person were erased before it.
        """
        keyed = self._keyed.copy()
        keyed.update(phone_number.encode("utf-8", "surrogatepass"))
        if generation:
            # A byte that no number has in UTF-8: nobody else's number ends like this.
            keyed.update(b"\xff%d" % generation)
        return SubjectId(_uuid8(keyed.digest()[:16]))

    def signal_key(self, key: str) -> UUID:
        """``key`` as it is kept: an Idempotency-Key may well be a phone number."""
        keyed = self._signals.copy()
        keyed.update(key.encode("utf-8", "surrogatepass"))
        return _uuid8(keyed.digest())


def _uuid8(digest: bytes) -> UUID:
    value = bytearray(digest)
    value[6] = 0x80 | value[6] & 0x0F
    value[8] = 0x80 | value[8] & 0x3F
    return UUID(bytes(value))
