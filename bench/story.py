"""What a large ledger tells: who says what to whom, and when. Pure, and the same again.

Never seals and never decides: what a signal means is ``ledger.domain``'s. Everything
follows from the seed, and nothing from who asks: each place of the ledger has 64 random
bits of its own, so that several processes tell the same story, each a part of it.

Over five years, recorded at never decreases. Numbers are scattered, and the lower a
number's ordinal, the more it says; the first has the longest history. One event in
eight is a late fact, of up to two years before it was recorded.
"""

import random
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Final, NamedTuple

from bench.service import ACCOUNT_SID
from bench.texts import form, number
from ledger.domain.classify import Classification, Vocabulary, classify
from ledger.domain.ids import EVERY_SENDER, PhoneNumber, Sender, Status
from ledger.domain.signals import Signal

BEGINNING: Final = datetime(2021, 1, 1, tzinfo=UTC)
END: Final = datetime(2026, 1, 1, tzinfo=UTC)
LONGEST: Final = 1
"""The ordinal of the number with the longest history."""

_LONGEST_EVENTS_MAX: Final = 10_000
_SERVICES: Final = tuple(f"MG{letter * 32}" for letter in "ce")
SENDERS: Final = (*_SERVICES, "+14155550199", "+14155550188", "72345")
_STOPS: Final = (
    *("STOP", "Stop", "stop", "STOP.", "Stop!", "STOPALL", "UNSUBSCRIBE", "Cancel"),
    *("QUIT", "END", "Arrêt", "opt out"),
)
_STARTS: Final = ("START", "Start", "start", "UNSTOP", "YES", "Yes")
_FREE_TEXTS: Final = (
    "please stop texting me",
    "Take me off your list.",
    "Remove me from this list please 🙏",
    "wrong number, lose my number",
    "I'm not interested, no more texts!!",
    "STOP texting this number NOW",
)
_OPT_OUT_TYPES: Final = dict.fromkeys(_STOPS, "STOP") | dict.fromkeys(_STARTS, "START")
_VOCABULARY: Final = Vocabulary()
_SECOND: Final = timedelta(seconds=1)
_LATE_MAX: Final = timedelta(days=730)


@dataclass(frozen=True, slots=True)
class Shape:
    """How large a story is, and which one of that size."""

    events: int
    numbers: int
    seed: int = 1
    chunk: int = 10_000
    """How many events are copied in one transaction."""

    def __post_init__(self) -> None:
        """Refuse what cannot be: every number says something."""
        if not 1 <= self.numbers <= self.events - self.longest + 1:
            raise ValueError(
                f"{self.events} events cannot be of {self.numbers} numbers"
            )

    @property
    def longest(self) -> int:
        """How many events the number with the longest history has."""
        return max(1, min(_LONGEST_EVENTS_MAX, self.events // 10))


class Moment(NamedTuple):
    """An event's place, whose it is, when it is recorded, and its random bits."""

    position: int
    ordinal: int
    recorded_at: datetime
    bits: int


def moments(shape: Shape) -> Iterator[Moment]:
    """Every event's place, in order."""
    generator = random.Random(shape.seed)  # noqa: S311 - nothing is kept secret by it
    ordinals = _ordinals(shape, generator)
    step = (END - BEGINNING) / shape.events
    recorded_at = BEGINNING
    for position, ordinal in enumerate(ordinals, start=1):
        bits = generator.getrandbits(64)
        # One in four shares its transaction, and so its time, with the one before.
        if bits & 3:
            fraction = (bits >> 2 & 0xFFFF) / 0x10000
            recorded_at = BEGINNING + step * (position - 1 + fraction)
        yield Moment(position, ordinal, recorded_at, bits)


def day_names() -> list[str]:
    """Every day in UTC on which something is recorded."""
    days = (END - BEGINNING).days
    return [(BEGINNING + timedelta(days=n)).date().isoformat() for n in range(days)]


def signal(moment: Moment, *, is_first: bool) -> Signal:
    """What arrived: most people begin with an opt-in from a form or an old system."""
    kind = (moment.bits >> 18 & 0x3FF) / 0x400
    choice = moment.bits >> 28 & 0xFF
    thresholds = (0.40, 0.75, 0.87, 0.97) if is_first else (0.05, 0.20, 0.48, 0.90)
    imported, called, started, stopped = thresholds
    if kind < imported:
        return _row(moment, "out" if choice < (26 if is_first else 128) else "in")
    if kind < called:
        return _call(moment, "out" if not is_first and choice < 50 else "in")
    if kind < started:
        return _text(moment, _STARTS[choice % len(_STARTS)])
    if kind < stopped:
        return _text(moment, _STOPS[choice % len(_STOPS)])
    return _text(moment, _FREE_TEXTS[choice % len(_FREE_TEXTS)])


def _ordinals(shape: Shape, generator: random.Random) -> "array[int]":
    """Whose each event is: everybody's once, and the more, the lower the ordinal."""
    ordinals = array("I", range(1, shape.numbers + 1))
    ordinals.extend([LONGEST] * (shape.longest - 1))
    others = shape.numbers - 1
    ordinals.extend(
        # A square is small more often than not; LONGEST is as long as it shall be.
        LONGEST + 1 + int(others * generator.random() ** 2) if others else LONGEST
        for _ in range(shape.events - len(ordinals))
    )
    generator.shuffle(ordinals)
    return ordinals


def _text(moment: Moment, body: str) -> Signal:
    """A text; services have Advanced Opt-Out, and Twilio says what it understood."""
    sender = _sender(moment)
    sid = f"SM{moment.bits:016x}{moment.position:016x}"
    phone = PhoneNumber(number(moment.ordinal))
    fields = form(phone, sid) | {"Body": body}
    del fields["OptOutType"], fields["MessagingServiceSid"]
    understood = _OPT_OUT_TYPES.get(body)
    if sender in _SERVICES:
        fields["MessagingServiceSid"] = sender
    else:
        fields["To"], understood = sender, None
    if understood:
        fields["OptOutType"] = understood
    meaning = _meaning(body, understood)
    assert meaning.meaning in ("in", "out")
    assert meaning.matched_by is not None
    return Signal(
        key=f"twilio:{ACCOUNT_SID}:{sid}",
        phone_number=phone,
        sender=sender,
        status=meaning.meaning,
        occurred_at=None,
        source="twilio.inbound",
        matched_by=meaning.matched_by,
        actor="subject",
        evidence={**fields, "channel": "sms"},
    )


def _call(moment: Moment, status: Status) -> Signal:
    """A form that an application sends, at once or some hours late."""
    late = moment.bits >> 36 & 0xFFFF
    return Signal(
        key=f"api:{moment.bits:016x}-{moment.position}",
        phone_number=PhoneNumber(number(moment.ordinal)),
        sender=_any_sender(moment),
        status=status,
        occurred_at=None if late & 3 else moment.recorded_at - late * _SECOND,
        source="api",
        matched_by="explicit",
        actor="key:forms",
        evidence={
            "kind": "written",
            "wording": "I agree to receive texts. Reply STOP to end.",
            "url": "https://shop.example.com/checkout",
            "ip": f"198.51.100.{moment.bits & 0xFF}",
            "userAgent": "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X)",
        },
    )


def _row(moment: Moment, status: Status) -> Signal:
    """A row of another system's export: a fact of up to two years before."""
    late = (1 + (moment.bits >> 36 & 0x7FFFF)) / 0x80000 * _LATE_MAX
    return Signal(
        key=f"import:crm:{moment.position}",
        phone_number=PhoneNumber(number(moment.ordinal)),
        sender=_any_sender(moment),
        status=status,
        occurred_at=moment.recorded_at - late,
        source="import",
        matched_by="explicit",
        actor="key:importer",
        evidence={"file": "crm.csv", "row": moment.position, "list": "newsletter"},
    )


def _sender(moment: Moment) -> Sender:
    """Nearly always the one that this number talks to, now and then another."""
    other = moment.bits >> 55 & 0x1F
    return Sender(SENDERS[(moment.ordinal + max(0, other - 26)) % len(SENDERS)])


def _any_sender(moment: Moment) -> Sender:
    """Or every sender, which no text names."""
    return EVERY_SENDER if moment.bits >> 60 == 0 else _sender(moment)


@cache
def _meaning(body: str, understood: str | None) -> Classification:
    return classify(body, understood, _VOCABULARY)
