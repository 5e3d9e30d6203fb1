"""Reads what a stored consent says straight from its bytes, without making an event.

For whoever folds millions of them: a third of what ``codec.decode`` takes. It knows the
usual form alone, byte by byte, and says of every other, and of every one that is not
whole, that it does not know it: that is ``decode``'s. Where it does know one, it gives
what ``decode`` gives; a property holds the two equal. Never opens what is sealed.

The subtle part: what comes between the times and what is sealed is the same for very
many events, so it is parsed once and found again by its bytes. That it cannot be taken
for something else rests on JSON: inside a string a quotation mark has a backslash.
"""

from datetime import datetime
from typing import Final, NamedTuple

import orjson
from eventsourcing.utils import get_topic

from ledger.domain.classify import MatchedBy
from ledger.domain.events import ConsentChanged
from ledger.domain.ids import Answer, Position, Sender, Status, Version
from ledger.domain.signals import Source
from ledger.store.codec import STATE_HEAD, STATE_MIDDLE, StoredRow
from ledger.store.kinds import STORED_FIELDS, class_version_of

WORDS_MAX: Final = 10_000
"""How many different ones are remembered: some megabytes."""

_TIME: Final = len("2026-11-21T00:00:00.000000+00:00")
# Where each part of a state begins.
_RECORDED: Final = len(STATE_HEAD)
_MIDDLE: Final = _RECORDED + _TIME
_OCCURRED: Final = _MIDDLE + len(STATE_MIDDLE)
WORDS: Final = _OCCURRED + _TIME
"""Where what follows the times begins, with ``OPENING``."""
OPENING: Final = b'"},'
_NUMBER: Final = b',"phone_number":"'
_AFTER: Final = len(_NUMBER)
_EVIDENCE: Final = b'","evidence":"'
_TEXT: Final = len(_EVIDENCE)
_DIGITS: Final = b"0123456789"
_BETWEEN: Final = b"--T::.+:"
_time: Final = datetime.fromisoformat
_TOPIC: Final = get_topic(ConsentChanged)


class Words(NamedTuple):
    """What a consent says, but for whose it is, and when: by its names in the state."""

    status: Status
    previous_status: Answer
    sender: Sender
    source: Source
    matched_by: MatchedBy
    actor: str


_SAID: Final = ("in", "out")
_IS_KNOWN: Final = class_version_of(ConsentChanged) == 1 and STORED_FIELDS[
    ConsentChanged
] == {"timestamp", "occurred_at", "phone_number", "evidence", *Words._fields}
"""Whether events are in the form that this module knows, in this release."""


Said = tuple[Position, Version, datetime, datetime, Words, bytes]
"""A consent in a stream that the caller knows: its place in the ledger and in the
stream, when it occurred and was recorded, its words, the same object for the same ones,
and the number as it is sealed. A plain tuple: to make one with names takes its time."""


class SaidReader:
    """Reads rows, and remembers words."""

    def __init__(self) -> None:
        self._words: dict[bytes, Words] = {}

    def read(self, row: StoredRow) -> Said | None:
        """What a row says; None where ``decode`` is to read it.

        One straight line: every event comes through here.
        """
        version: Version
        position: Position
        _, version, topic, state, position = row  # type: ignore[assignment]
        if topic != _TOPIC:
            return None
        number = state.find(_NUMBER, WORDS)
        evidence = state.find(b'"', number + _AFTER)
        times = times_in(state)
        if (
            number < 0
            or times is None
            or not state.startswith(_EVIDENCE, evidence)
            or state.find(b'"', evidence + _TEXT) != len(state) - 2
            or state[-1:] != b"}"
            or b"\\" in state
            or not state.isascii()
        ):
            return None
        found = state[WORDS:number]
        words = self._words.get(found) or self._parsed(found)
        if words is None:
            return None
        return position, version, *times, words, state[number + _AFTER : evidence]

    def _parsed(self, found: bytes) -> Words | None:
        if not (_IS_KNOWN and found.startswith(OPENING)):
            return None
        try:
            state = orjson.loads(b"{%b}" % found.removeprefix(OPENING))
        except orjson.JSONDecodeError:
            return None
        if tuple(state) != Words._fields or state["status"] not in _SAID:
            return None
        if not all(type(word) is str for word in state.values()):
            return None
        if len(self._words) >= WORDS_MAX:
            self._words.clear()
        words = self._words[found] = Words(*state.values())
        return words


def times_in(state: bytes) -> tuple[datetime, datetime] | None:
    """When an event occurred and was recorded, the same object where that is one.

    None where its state does not begin as states do that are written here.
    """
    if not (state.startswith(STATE_HEAD) and state.startswith(STATE_MIDDLE, _MIDDLE)):
        return None
    recorded, occurred = state[_RECORDED:_MIDDLE], state[_OCCURRED:WORDS]
    try:
        recorded_at = occurred_at = _time_in(recorded)
        if occurred != recorded:
            occurred_at = _time_in(occurred)
    except ValueError:
        return None
    return occurred_at, recorded_at


def _time_in(text: bytes) -> datetime:
    """A time as this ledger writes it.

    fromisoformat() takes more: any character for a T, and a NUL for a plus, which no
    JSON has.
    """
    if text.translate(None, _DIGITS) != _BETWEEN:
        raise ValueError("not as it is written here")
    return _time(text.decode())
