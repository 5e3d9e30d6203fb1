"""``?asOf=`` and ``?knownAt=``: what a number said on a day, as known on another.

Turns a query into a question for ``ledger.api.past``, and what it finds into an answer
that names the instants used and the events that decided. Never decides.
"""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, NamedTuple

import orjson

from ledger.api.past import (
    PastReader,
    Question,
    Said,
    Told,
    decided_by,
    ended_by,
    status_at,
)
from ledger.domain.consent import Facts, deciding, decisive_for
from ledger.domain.ids import (
    EVERY_SENDER,
    NO_SENDER,
    PhoneNumber,
    Sender,
    is_e164,
)
from ledger.errors import InvalidQuery, NotFound
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
) -> bytes:
    """What ``number`` said then, as the JSON of a ``PastRecord``.

    Of one that was never seen, ``unknown``. Not by way of the model: to check what was
    just made of checked values takes as long as to find it.

    Raises:
        NotFound: it is no number, and was never seen as an address either.
        FutureMoment: one of the two times has not come.
        NotYetProjected: the history has not reached what was known then.
        StoreUnavailable, QueueFull: it cannot be read now.
    """
    question = Question(number, *moments, sender)
    return as_json(question, await reader.ask(question))


def as_json(question: Question, told: Told) -> bytes:
    """What was found, as the JSON of a ``PastRecord``.

    Raises:
        NotFound: it is no number, and was never seen as an address either.
    """
    number, as_of, known_at, sender = question
    if not (is_e164(number) or told.left or told.facts or told.following):
        raise NotFound("no such address was ever seen; write a number as +14155550100")
    facts = told.facts
    decisive = decisive_for(facts, sender)
    status = status_at(told, decisive, as_of)
    record: dict[str, object] = {
        "phoneNumber": number,
        "sender": sender,
        "status": status,
        "asOf": as_of,
        "knownAt": known_at,
        "position": told.stand.reached,
        "decidedBy": _event(decided_by(told, decisive, status)),
        "endedBy": _event(ended_by(told, decisive, sender)),
        "senders": [_sender(facts, one) for one in sorted(facts) if one != NO_SENDER],
    }
    if told.left is not None and not facts and not told.following:
        record["erased"] = True
    return orjson.dumps(record, option=orjson.OPT_UTC_Z)


def validator_of(body: bytes) -> str:
    """The ETag of an answer: it changes with every byte of it."""
    return f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'


def _event(said: Said | None) -> dict[str, object] | None:
    if said is None:
        return None
    return {
        "position": said.position,
        "sender": said.sender or EVERY_SENDER,
        "status": said.status,
        "occurredAt": said.occurred_at,
        "recordedAt": said.recorded_at,
        "source": said.source,
        "matchedBy": said.matched_by,
    }


def _sender(facts: Facts, sender: Sender) -> dict[str, object]:
    fact = deciding(facts, sender)
    assert fact is not None, "who was told something has a fact"  # noqa: S101
    return {
        "sender": sender,
        "status": fact.status,
        "since": fact.occurred_at,
        "position": fact.version,
    }
