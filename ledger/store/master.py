"""The master keys: what wraps every other key, and never touches a person's data.

Never stored in the database and never logged: who has the database alone, or a backup
of it, reads no number and no text. Several may be given while they are rotated; the
first wraps, all of them unwrap.
"""

import base64
import hashlib
import os
import re
from collections.abc import Sequence
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ledger.errors import ConfigurationError, MasterKeyMissing

KEY_BYTES = 32
NONCE_BYTES = 12
_ID_CHARACTERS = 12


class WrappedKey(NamedTuple):
    """A key as it is stored: sealed with the master key of that id."""

    box: bytes
    master_key: str


class MasterKeys:
    """Wraps with the first of ``secrets``, each of 32 bytes, and unwraps with any."""

    def __init__(self, secrets: Sequence[bytes]) -> None:
        self._ciphers = {key_id(secret): AESGCM(secret) for secret in secrets}
        self.current = key_id(secrets[0])
        self._current = self._ciphers[self.current]

    @property
    def ids(self) -> frozenset[str]:
        """The ids of all of them."""
        return frozenset(self._ciphers)

    def wrap(self, secret: bytes, purpose: bytes) -> WrappedKey:
        """``secret``, to be stored; it can only be unwrapped for the same purpose."""
        nonce = os.urandom(NONCE_BYTES)
        box = nonce + self._current.encrypt(nonce, secret, purpose)
        return WrappedKey(box, self.current)

    def rewrap(self, wrapped: WrappedKey, purpose: bytes) -> WrappedKey:
        """The same secret, wrapped with the current master key.

        Raises:
            MasterKeyMissing: as ``unwrap``.
        """
        return self.wrap(self.unwrap(wrapped, purpose), purpose)

    def unwrap(self, wrapped: WrappedKey, purpose: bytes) -> bytes:
        """The secret again.

        Raises:
            MasterKeyMissing: none of our master keys has wrapped it.
        """
        cipher = self._ciphers.get(wrapped.master_key)
        if cipher is None:
            raise MasterKeyMissing(
                f"this ledger's keys are wrapped with master key {wrapped.master_key}, "
                f"and we were given {', '.join(sorted(self.ids))}: set "
                "LEDGER_MASTER_KEY to the one that it was made with. Without it whose "
                "the history is, and all evidence, is lost, and no STOP can be matched "
                "to its number"
            )
        try:
            return cipher.decrypt(
                wrapped.box[:NONCE_BYTES], wrapped.box[NONCE_BYTES:], purpose
            )
        except (InvalidTag, ValueError):
            raise MasterKeyMissing(
                f"a key wrapped with master key {wrapped.master_key} has been altered"
            ) from None


def key_id(secret: bytes) -> str:
    """What a key may be called in public: the start of its SHA-256."""
    return hashlib.sha256(secret).hexdigest()[:_ID_CHARACTERS]


def parse_master_keys(text: str) -> MasterKeys:
    """The keys in ``text``: base64 of 32 bytes each, by commas or lines.

    Raises:
        ConfigurationError: one is not; it is not shown.
    """
    secrets = [_parsed(part) for part in re.split(r"[,\s]+", text.strip()) if part]
    if not secrets:
        raise ConfigurationError("the master key is empty")
    return MasterKeys(secrets)


def new_master_key() -> str:
    """A random one, as ``parse_master_keys`` reads it."""
    return base64.b64encode(os.urandom(KEY_BYTES)).decode()


def _parsed(text: str) -> bytes:
    try:
        secret = base64.b64decode(text, validate=True)
    except ValueError:  # not base64, or not even ASCII
        secret = b""
    if len(secret) != KEY_BYTES:
        raise ConfigurationError(
            "a master key is 32 random bytes in base64, such as "
            "`openssl rand -base64 32` prints"
        )
    return secret
