"""The ledger as it would be without sealing: what it is compared with, never shipped.

Python imports a module of this name by itself where its folder is in PYTHONPATH, so
every process of a service that ``bench.sealing`` starts is without. Personal data is
stored as it is, and no subject has a key.
"""

from collections.abc import Iterable
from typing import Any

import orjson

from ledger.domain.events import ConsentChanged
from ledger.store import keyring


class _NoKey:
    """In the place of a subject's key."""

    wrapped = None

    def seal_number(self, number: str, *_: object) -> str:
        return number

    def seal_text(self, _: str, text: str, *__: object) -> str:
        return text

    def seal_evidence(self, evidence: object, *_: object) -> str:
        return orjson.dumps(evidence).decode()


async def _phone_numbers(_: object, events: Iterable[ConsentChanged]) -> dict[Any, Any]:
    return {event.subject_id: event.phone_number for event in events}


_NO_KEY: Any = _NoKey()
keyring.Keyring.new_subject_key = lambda *_: _NO_KEY  # type: ignore[method-assign]
keyring.Keyring.subject_key = lambda *_: _NO_KEY  # type: ignore[method-assign]
keyring.Keyring.phone_numbers = _phone_numbers  # type: ignore[assignment]
