"""From a phone number to its subject, and from a text to its stream.

The only place where ``subject_id``, ``message_id`` and signal keys are made.

A keyed HMAC and not a hash: there are about 10^10 phone numbers, so a plain or salted
hash of one is found by trying them all within minutes. The subtle part is generations:
once a subject is erased, the same person's next signal begins another one.
"""

import hashlib
from typing import Final

from asyncpg.pgproto.pgproto import UUID  # uuid.UUID in C: made ten times faster

from ledger.domain.ids import MessageId, PhoneNumber, SubjectId

_INNER: Final = bytes(byte ^ 0x36 for byte in range(256))
_OUTER: Final = bytes(byte ^ 0x5C for byte in range(256))
_SIGNAL: Final = b"ledger signal"  # at most 16 bytes, says BLAKE2b
_MESSAGE: Final = b"ledger message"


class Identity:
    """Makes subject ids and signal keys with one secret of 32 bytes."""

    def __init__(self, secret: bytes) -> None:
        # HMAC as RFC 2104 has it, with the key's two blocks hashed once and for all:
        # the standard library takes twice as long, and a list has thousands of numbers.
        block = secret.ljust(hashlib.sha256().block_size, b"\0")
        self._inner = hashlib.sha256(block.translate(_INNER))
        self._outer = hashlib.sha256(block.translate(_OUTER))
        self._signals = hashlib.blake2b(key=secret, digest_size=16, person=_SIGNAL)
        self._messages = hashlib.blake2b(key=secret, digest_size=16, person=_MESSAGE)

    def subject_id(self, phone_number: PhoneNumber, generation: int = 0) -> SubjectId:
        """The subject behind a canonical number: a UUID of version 8 (RFC 9562).

        ``generation`` counts how many subjects of this person were erased before it.
        """
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(phone_number.encode("utf-8", "surrogatepass"))
        if generation:
            # A byte that no number has in UTF-8: nobody else's number ends like this.
            inner.update(b"\xff%d" % generation)
        outer.update(inner.digest())
        return SubjectId(_uuid8(outer.digest()[:16]))

    def signal_key(self, key: str) -> UUID:
        """``key`` as it is kept: an Idempotency-Key may well be a phone number."""
        keyed = self._signals.copy()
        keyed.update(key.encode("utf-8", "surrogatepass"))
        return _uuid8(keyed.digest())

    def message_id(self, name: str) -> MessageId:
        """A text's stream: by ``<AccountSid>:<MessageSid>``, or the key it has here.

        A SID leads to the text at Twilio, whose body outlives an erasure here; so it
        is as personal as that, and is nowhere but sealed.
        """
        keyed = self._messages.copy()
        keyed.update(name.encode("utf-8", "surrogatepass"))
        return MessageId(_uuid8(keyed.digest()))


def _uuid8(digest: bytes) -> UUID:
    value = bytearray(digest)
    value[6] = 0x80 | value[6] & 0x0F
    value[8] = 0x80 | value[8] & 0x3F
    return UUID(bytes(value))
