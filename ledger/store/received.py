"""Reads what a stored text says straight from its bytes, as ``said`` reads a consent.

Of a text that somebody sent us, and as strictly: it knows the usual form alone, and of
every other, and of every one that is not whole, it says that it does not know it. What
it gives is what ``codec.decode`` gives; a property holds the two equal. Never opens
what is sealed.
"""

from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

import orjson
from eventsourcing.utils import get_topic

from ledger.domain.events import MessageReceived
from ledger.domain.ids import Position, Sender, SubjectId, Version
from ledger.domain.signals import Incoming
from ledger.store.codec import StoredRow
from ledger.store.kinds import STORED_FIELDS, class_version_of
from ledger.store.said import OPENING, WORDS, WORDS_MAX, times_in

_COUNTERPARTY: Final = OPENING + b'"counterparty":{"_type_":"uuid_hex","_data_":"'
_NUMBER: Final = b',"phone_number":"'
_SID: Final = b'","sid":"'
_EVIDENCE: Final = b'","evidence":"'
_NO_EVIDENCE: Final = b'","evidence":null}'
# Where the person begins, and where the words do.
_PERSON: Final = WORDS + len(_COUNTERPARTY)
_WORDS: Final = _PERSON + len(UUID(int=0).hex)
_AFTER_NUMBER: Final = len(_NUMBER)
_AFTER_SID: Final = len(_SID)
_AFTER_EVIDENCE: Final = len(_EVIDENCE)
_HEXADECIMAL: Final = b"0123456789abcdef"
_TOPIC: Final = get_topic(MessageReceived)
_FIRST: Final = Version(1)


class ReceivedWords(NamedTuple):
    """What an event says of a text, but for whose it is, and when."""

    sender: Sender | None
    address: str | None
    source: Incoming
    actor: str
    consent_version: Version | None


_TEXT_OR_NONE: Final = (str, type(None))
_TYPES: Final = (
    _TEXT_OR_NONE,
    _TEXT_OR_NONE,
    (str,),
    (str,),
    (int, type(None)),
)
_IS_KNOWN: Final = class_version_of(MessageReceived) == 1 and STORED_FIELDS[
    MessageReceived
] == {
    "timestamp",
    "occurred_at",
    "counterparty",
    "phone_number",
    "sid",
    "evidence",
    *ReceivedWords._fields,
}
"""Whether events are in the form that this module knows, in this release."""


Received = tuple[Position, datetime, datetime, SubjectId, ReceivedWords, bytes, bytes]
"""A text that begins its stream: its place in the ledger, when it occurred and was
recorded, who sent it, its words, the same object for the same ones, and number and SID
as they are sealed. A plain tuple, as ``Said``."""


class ReceivedReader:
    """Reads rows, and remembers words."""

    def __init__(self) -> None:
        self._words: dict[bytes, ReceivedWords] = {}

    def read(self, row: StoredRow) -> Received | None:
        """What a row says; None where ``decode`` is to read it, or nothing begins.

        One straight line: every text comes through here.
        """
        position: Position
        _, version, topic, state, position = row  # type: ignore[assignment]
        if topic != _TOPIC or version != _FIRST:
            return None
        number = state.find(_NUMBER, _WORDS)
        number_end = state.find(b'"', number + _AFTER_NUMBER)
        sid_end = state.find(b'"', number_end + _AFTER_SID)
        person = state[_PERSON:_WORDS]
        times = times_in(state)
        if (
            number < 0
            or times is None
            or not state.startswith(_COUNTERPARTY, WORDS)
            or person.translate(None, _HEXADECIMAL)
            or not state.startswith(_SID, number_end)
            or not _ends(state, sid_end)
            or b"\\" in state
            or not state.isascii()
        ):
            return None
        found = state[_WORDS:number]
        words = self._words.get(found) or self._parsed(found)
        if words is None:
            return None
        return (
            position,
            *times,
            SubjectId(UUID(int=int(person, 16))),
            words,
            state[number + _AFTER_NUMBER : number_end],
            state[number_end + _AFTER_SID : sid_end],
        )

    def _parsed(self, found: bytes) -> ReceivedWords | None:
        if not (_IS_KNOWN and found.startswith(OPENING)):
            return None
        try:
            state = orjson.loads(b"{%b}" % found.removeprefix(OPENING))
        except orjson.JSONDecodeError:
            return None
        if tuple(state) != ReceivedWords._fields:
            return None
        if not all(map(_is_one_of, state.values(), _TYPES)):
            return None
        if len(self._words) >= WORDS_MAX:
            self._words.clear()
        words = self._words[found] = ReceivedWords(*state.values())
        return words


def _ends(state: bytes, sid_end: int) -> bool:
    """Whether behind the SID there is evidence, or that there is none, and no more."""
    if state.startswith(_NO_EVIDENCE, sid_end):
        return len(state) == sid_end + len(_NO_EVIDENCE)
    return (
        state.startswith(_EVIDENCE, sid_end)
        and state.find(b'"', sid_end + _AFTER_EVIDENCE) == len(state) - 2
        and state.endswith(b"}")
    )


def _is_one_of(value: object, types: tuple[type, ...]) -> bool:
    """By the type itself: a bool is no version."""
    return type(value) in types
