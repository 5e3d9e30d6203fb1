"""What Twilio is to be told of a person: pure, by the domain's rules.

An ``out`` is always told. An ``in`` is what could do harm: to Twilio it overrides a
STOP. So it is told only where no STOP is known that Twilio holds, or the person's own
START came after it. What Twilio holds is what came by Twilio: a text, a 21610. An
opt-out that only we were given, Twilio has from us, and we may take it back.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final, Literal, NamedTuple

from ledger.domain.consent import Fact, Subject, deciding
from ledger.domain.events import ConsentChanged, LedgerEvent
from ledger.domain.ids import (
    EVERY_SENDER,
    NO_SENDER,
    PhoneNumber,
    Sender,
    Status,
    SubjectId,
    Version,
    is_e164,
)

Why = Literal["stop", "tollFree", "lapsed", "notANumber", "otherSender"]

_STARTS: Final = ("optOutType", "keyword")
_TEXTS: Final = ("twilio.inbound", "twilio.import")

When = tuple[datetime, Version]


class Told(NamedTuple):
    """A sender that Twilio can be told about."""

    id: Sender
    """A Messaging Service, or a number."""
    for_all: bool
    """Whether it is told what is said to every sender: a number in a service is not,
    since the service is."""
    is_toll_free: bool
    scope: frozenset[Sender]
    """Itself, and what shares its blocks at Twilio: a service and its numbers."""


class Wish(NamedTuple):
    """Something that Twilio is to know."""

    subject_id: SubjectId
    subject_version: Version
    """How much of the person's stream was read."""
    number: PhoneNumber
    sender: Sender
    status: Status
    version: Version
    """Of the event that decides."""
    occurred_at: datetime
    source: str
    """As the Consent API names it."""


def wishes_of(
    subject: Subject,
    number: PhoneNumber,
    events: Sequence[LedgerEvent],
    senders: Iterable[Told],
) -> tuple[list[Wish], Counter[Why]]:
    """What Twilio is to know of a person, and why it is not told the rest."""
    said = {e.version: e for e in events if isinstance(e, ConsentChanged)}
    known = list(senders)
    wishes: list[Wish] = []
    held: Counter[Why] = Counter()
    strangers = subject.facts.keys() - {told.id for told in known}
    held["otherSender"] += len(strangers - {EVERY_SENDER, NO_SENDER})
    for told in known:
        fact = deciding(subject.facts, told.id)
        if fact is None or not (told.for_all or told.id in subject.facts):
            continue
        if not is_e164(number):
            held["notANumber"] += 1
        elif fact.status == "unknown":
            held["lapsed"] += 1
        elif why := _held(subject, fact, told, said.values()):
            held[why] += 1
        else:
            wishes.append(_wish(subject, number, told.id, fact, said))
    return wishes, +held


def _held(
    subject: Subject, fact: Fact, told: Told, said: Iterable[ConsentChanged]
) -> Why | None:
    """Why an ``in`` is not told; None where it may be, or is none."""
    if fact.status != "in":
        return None
    stops = [_when(event) for event in said if _is_held_stop(event, told)]
    if subject.suppressed and subject.suppressed_since is not None:
        stops.append((subject.suppressed_since, Version(0)))
    if not stops:
        return None
    if told.is_toll_free:
        # The carriers' network holds it, and the Consent API does not reach there.
        return "tollFree"
    starts = [_when(event) for event in said if _is_start(event, told)]
    return None if starts and max(starts) > max(stops) else "stop"


def _is_held_stop(event: ConsentChanged, told: Told) -> bool:
    is_in_scope = event.sender in told.scope or event.sender == EVERY_SENDER
    is_twilio_s = event.source.startswith("twilio.")
    return event.status == "out" and is_in_scope and is_twilio_s


def _is_start(event: ConsentChanged, told: Told) -> bool:
    """Whether it is the person's own word, by which Twilio has lifted its block."""
    is_text = event.source in _TEXTS and event.matched_by in _STARTS
    return event.status == "in" and is_text and event.sender in told.scope


def _when(event: ConsentChanged) -> When:
    return event.occurred_at, event.version


def _wish(
    subject: Subject,
    number: PhoneNumber,
    sender: Sender,
    fact: Fact,
    said: dict[Version, ConsentChanged],
) -> Wish:
    event = said[fact.version]
    status: Status = "in" if fact.status == "in" else "out"
    return Wish(
        subject_id=subject.id,
        subject_version=subject.version,
        number=number,
        sender=sender,
        status=status,
        version=fact.version,
        occurred_at=fact.occurred_at,
        source=_source(event),
    )


def _source(event: ConsentChanged) -> str:
    if event.source not in _TEXTS or event.matched_by == "error21610":
        return "others"
    return "opt-in-message" if event.status == "in" else "opt-out-message"
