"""The ledger as it would be without sealing: what it is compared with, never shipped.

Python imports a module of this name by itself where its folder is in PYTHONPATH, so
every process of a service that ``bench.sealing`` starts is without. Personal data is
stored as it is, evidence as base64 as a sealed one is, and no subject has a key.
"""

from binascii import b2a_base64
from collections.abc import Iterable
from typing import Any
from uuid import UUID

import orjson

from ledger.store import keyring


class _NoKey:
    """In the place of a subject's key."""

    wrapped = None

    def seal_number(self, number: str, *_: object) -> str:
        return number

    def seal_text(self, _: str, text: str, *__: object) -> str:
        return text

    def seal_evidence(self, evidence: object, *_: object) -> str:
        return b2a_base64(orjson.dumps(evidence), newline=False).decode()

    def open_number(self, number: str | bytes, *_: object) -> str:
        return number if isinstance(number, str) else number.decode()

    def open_text(self, _: str, text: str | bytes, *__: object) -> str:
        return self.open_number(text)


async def _keys_of_living(_: object, ids: Iterable[UUID]) -> dict[UUID, Any]:
    return dict.fromkeys(ids, _NO_KEY)


_NO_KEY: Any = _NoKey()
_Keyring: Any = keyring.Keyring
_Keyring.new_subject_key = lambda *_: _NO_KEY
_Keyring.subject_key = lambda *_: _NO_KEY
_Keyring.subject_keys_of_living = _keys_of_living
