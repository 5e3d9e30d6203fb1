"""What each number says now, from its whole stream at once.

What the tables must hold, and nothing of how they came to hold it: the domain's rules,
applied to every event from the first on. Pure.
"""

from collections.abc import Iterable
from struct import Struct
from typing import Final

from ledger.domain.consent import (
    Fact,
    Facts,
    fact_of,
    newest_facts,
    overall_deciding,
    settled,
)
from ledger.domain.events import ConsentChanged, ConsentLapsed
from ledger.domain.ids import EVERY_SENDER, Answer
from ledger.store.statements import statement
from projections.copying import microseconds, moments, text
from projections.projection import Heard, Person, Row, Table

NUMBERS: Final = Table(
    "phone_numbers_v1",
    (
        "subject_id",
        "phone_number",
        "status",
        "since",
        "position",
        "version",
        "updated_at",
    ),
    1,
    statement("projections.phone_numbers", "read_numbers_slice"),
)
SENDERS: Final = Table(
    "phone_number_senders_v1",
    (
        "subject_id",
        "sender",
        "phone_number",
        "status",
        "since",
        "position",
        "version",
    ),
    2,
    statement("projections.phone_numbers", "read_senders_slice"),
)


_SUBJECT: Final = Struct(">hi16s").pack
_NUMBER_REST: Final = Struct(">iqiqiqiq").pack
_SENDER_REST: Final = Struct(">iqiqiq").pack
_STATUS: Final[dict[Answer, bytes]] = {"in": text("in"), "out": text("out")}


def rows_of(person: Person) -> tuple[list[Row], list[Row]]:
    """The rows of ``NUMBERS`` and of ``SENDERS`` for somebody who was not erased."""
    said = [
        (position, event)
        for position, event in person.events
        if isinstance(event, ConsentChanged | ConsentLapsed)
    ]
    facts = newest_facts(fact_of(event) for _, event in said)
    positions = {event.version: position for position, event in said}
    facts, decisive = _decided(facts)
    if decisive is None:
        return [], []
    subject_id, phone_number, events, _ = person
    position, newest = events[-1]
    number: Row = (
        subject_id,
        phone_number,
        decisive.status,
        decisive.occurred_at,
        position,
        newest.version,
        newest.recorded_at,
    )
    senders: list[Row] = [
        (
            subject_id,
            sender,
            phone_number,
            fact.status,
            fact.occurred_at,
            positions[fact.version],
            fact.version,
        )
        for sender, fact in facts.items()
    ]
    return [number], senders


def copied(people: Iterable[Heard]) -> tuple[bytes, bytes]:
    """The same rows of many, as COPY takes them."""
    numbers: list[bytes] = []
    senders: list[bytes] = []
    for subject_id, phone_number, said, _ in people:
        facts, decisive = _decided(
            newest_facts(
                [
                    (words.sender, Fact(occurred_at, version, words.status))
                    for _, version, occurred_at, _, words, _ in said
                ]
            )
        )
        if decisive is None:
            continue
        positions = {version: position for position, version, _, _, _, _ in said}
        position, version, _, recorded_at, _, _ = said[-1]
        stored_id, stored_number = _SUBJECT(7, 16, subject_id.bytes), text(phone_number)
        since, updated_at = moments(decisive.occurred_at, recorded_at)
        numbers += (
            stored_id,
            stored_number,
            _STATUS[decisive.status],
            _NUMBER_REST(8, since, 8, position, 8, version, 8, updated_at),
        )
        for sender, fact in facts.items():
            occurred = since
            if fact is not decisive:
                occurred = microseconds(fact.occurred_at)
            position = positions[fact.version]
            senders += (
                stored_id,
                text(sender),
                stored_number,
                _STATUS[fact.status],
                _SENDER_REST(8, occurred, 8, position, 8, fact.version),
            )
    return b"".join(numbers), b"".join(senders)


def _decided(facts: Facts) -> tuple[Facts, Fact | None]:
    """The fact that decides for each sender, and the one that does for all."""
    if len(facts) == 1:
        # Who has one fact has nothing to weigh; more than half have one.
        [fact] = facts.values()
        return facts, fact
    if EVERY_SENDER in facts:
        facts = settled(facts)
    return facts, overall_deciding(facts)
