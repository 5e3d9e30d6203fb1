"""Sealing a person's data with the person's own key.

Pure but for randomness; knows no table. AES-256-GCM with a random 96-bit nonce (NIST SP
800-38D), and with the event's identity as associated data: a sealed value that was
moved to another event, field or subject does not open.

The subtle part is evidence. Its key is made of two secrets, the subject's and the
day's; destroying the subject's erases the person, destroying the day's erases the
evidence of that day and leaves the number.
"""

import hashlib
import os
from binascii import Error, a2b_base64, b2a_base64
from typing import Final, NamedTuple
from uuid import UUID

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ledger.domain.ids import PhoneNumber, Sealed, Version
from ledger.domain.signals import Evidence
from ledger.errors import SealBroken
from ledger.store.master import NONCE_BYTES, WrappedKey, key_id

_EVIDENCE: Final = b"evidence"
_EVIDENCE_KEY: Final = b"ledger evidence"  # at most 16 bytes, says BLAKE2b


class Day(NamedTuple):
    """A day in UTC, such as ``2026-11-21``, and its secret, which is the ledger's."""

    name: str
    secret: bytes
    box: bytes | None = None
    """The secret as it is stored."""


class SubjectKey:
    """One subject's data key; ``wrapped`` is how it is, or is to be, stored."""

    __slots__ = ("_cipher", "_secret", "wrapped")

    def __init__(self, secret: bytes, wrapped: WrappedKey) -> None:
        self.wrapped = wrapped
        self._secret = secret
        self._cipher = AESGCM(secret)

    @property
    def id(self) -> str:
        """What the key is called in public."""
        return key_id(self._secret)

    def seal_text(
        self, name: str, text: str, stream_id: UUID, version: Version
    ) -> Sealed:
        """``text``, for the field ``name`` of the event of that stream and version."""
        context = _context(stream_id, version, name.encode())
        return _seal(self._cipher, text.encode("utf-8", "surrogatepass"), context)

    def open_text(
        self, name: str, sealed: Sealed | bytes, stream_id: UUID, version: Version
    ) -> str:
        """The text again, of what is sealed or of its bytes as they are stored.

        Raises:
            SealBroken: it was altered, or is another event's or field's.
        """
        context = _context(stream_id, version, name.encode())
        text = _open(self._cipher, sealed, context)
        return text.decode("utf-8", "surrogatepass")

    def seal_number(
        self, number: PhoneNumber, stream_id: UUID, version: Version
    ) -> Sealed:
        """As ``seal_text``, of a phone number."""
        return self.seal_text("phone_number", number, stream_id, version)

    def open_number(
        self, sealed: Sealed | bytes, stream_id: UUID, version: Version
    ) -> PhoneNumber:
        """As ``open_text``, of a phone number."""
        return PhoneNumber(self.open_text("phone_number", sealed, stream_id, version))

    def evidence_secret(self, day: Day) -> bytes:
        """What evidence of that day is sealed with."""
        return hashlib.blake2b(
            day.secret, key=self._secret, digest_size=32, person=_EVIDENCE_KEY
        ).digest()

    def seal_evidence(
        self, evidence: Evidence, day: Day, stream_id: UUID, version: Version
    ) -> Sealed:
        """``evidence``, under the name of its day."""
        cipher = AESGCM(self.evidence_secret(day))
        context = _context(stream_id, version, _EVIDENCE)
        return Sealed(f"{day.name}.{_seal(cipher, orjson.dumps(evidence), context)}")


def open_evidence(
    sealed: Sealed, secret: bytes, stream_id: UUID, version: Version
) -> Evidence:
    """The evidence again, by ``SubjectKey.evidence_secret`` of its day.

    Raises:
        SealBroken: it was altered, or is another event's.
    """
    _, _, box = sealed.partition(".")
    context = _context(stream_id, version, _EVIDENCE)
    evidence: Evidence = orjson.loads(_open(AESGCM(secret), box, context))
    return evidence


def day_of(sealed: Sealed) -> str:
    """The day whose secret has sealed this evidence."""
    return sealed.partition(".")[0]


def _context(stream_id: UUID, version: Version, field: bytes) -> bytes:
    return stream_id.bytes + version.to_bytes(8, "big") + field


def _seal(cipher: AESGCM, text: bytes, context: bytes) -> Sealed:
    nonce = os.urandom(NONCE_BYTES)
    box = nonce + cipher.encrypt(nonce, text, context)
    return Sealed(b2a_base64(box, newline=False), "ascii")


def _open(cipher: AESGCM, sealed: str | bytes, context: bytes) -> bytes:
    try:
        box = a2b_base64(sealed)
        return cipher.decrypt(box[:NONCE_BYTES], box[NONCE_BYTES:], context)
    except (InvalidTag, Error, ValueError):
        raise SealBroken("a sealed value was altered or is another event's") from None
