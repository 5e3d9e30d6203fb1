"""``?asOf=`` and ``?knownAt=``: what a number said on a day, as known on another.

Turns a query into a question for ``ledger.api.past``, and what it finds into an answer
that names the instants used and the events that decided. Never decides.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, NamedTuple

from ledger.api.models import DecidingEvent, PastRecord, SenderStatus
from ledger.api.past import (
    PastReader,
    Question,
    Said,
    decided_by,
    said_in,
    status_at,
)
from ledger.domain.consent import deciding
from ledger.domain.ids import PhoneNumber, Sender
from ledger.errors import InvalidQuery
from ledger.moments import parse_moment, parse_zone

PARAMETERS: Final = ("asOf", "knownAt", "tz")


class Moments(NamedTuple):
    """The two times of a question; ``known_at`` None for all that is known."""

    as_of: datetime
    known_at: datetime | None


def moments_in(parameters: Mapping[str, str]) -> Moments | None:
    """The two times that a query names; None where it asks for now.

    Who only says what was to be known asks for what held then, as far as was known.

    Raises:
        InvalidMoment: one is no day and no time with an offset.
        UnknownTimeZone, InvalidQuery: ``tz`` is none, or there is nothing to use it on.
    """
    asked, known = parameters.get("asOf"), parameters.get("knownAt")
    zone = parse_zone(parameters["tz"]) if "tz" in parameters else UTC
    known_at = None if known is None else parse_moment(known, zone)
    as_of = known_at if asked is None else parse_moment(asked, zone)
    if as_of is not None:
        return Moments(as_of, known_at)
    if "tz" in parameters:
        raise InvalidQuery("tz is the zone of a date in asOf or knownAt: give one")
    return None


async def past_record(
    reader: PastReader, number: PhoneNumber, moments: Moments, sender: Sender | None
) -> PastRecord:
    """What ``number`` said then; of one that was never seen, ``unknown``.

    Raises:
        FutureMoment: one of the two times has not come.
        NotYetProjected: the history has not reached what was known then.
        StoreUnavailable, QueueFull: it cannot be read now.
    """
    question = Question(number, moments.as_of, moments.known_at, sender)
    told = await reader.ask(question)
    ended_by = await reader.ended_by(question, told)
    facts = told.facts
    return PastRecord(
        phone_number=number,
        sender=sender,
        status=status_at(told, facts, moments.as_of, sender),
        as_of=moments.as_of,
        known_at=moments.known_at,
        position=told.reached,
        decided_by=_event(decided_by(told, sender)),
        ended_by=_event(ended_by),
        senders=[
            SenderStatus(
                sender=one,
                status=fact.status,
                since=fact.occurred_at,
                position=said_in(told, fact).position,
            )
            for one in sorted(facts)
            if (fact := deciding(facts, one))
        ],
        erased=told.left is not None and not told.is_known,
    )


def _event(said: Said | None) -> DecidingEvent | None:
    if said is None:
        return None
    sender, status, occurred_at, recorded_at, position, _, source, matched_by = said
    return DecidingEvent(
        position=position,
        sender=sender,
        status=status,
        occurred_at=occurred_at,
        recorded_at=recorded_at,
        source=source,
        matched_by=matched_by,
    )
