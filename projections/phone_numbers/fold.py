"""What each number says now, from its whole stream at once.

What the tables must hold, and nothing of how they came to hold it: the domain's rules,
applied to every event from the first on. Pure.
"""

from typing import Final

from ledger.domain.consent import (
    NO_FACTS,
    Fact,
    Facts,
    deciding,
    overall_deciding,
    with_fact,
)
from ledger.domain.events import ConsentChanged
from ledger.domain.ids import EVERY_SENDER, Version
from ledger.store.statements import statement
from projections.projection import Person, Row, Table

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


def rows_of(person: Person) -> tuple[list[Row], list[Row]]:
    """The rows of ``NUMBERS`` and of ``SENDERS`` for somebody who was not erased."""
    facts: Facts = NO_FACTS
    positions: dict[int, int] = {}
    for position, event in person.events:
        if isinstance(event, ConsentChanged):
            version = Version(event.originator_version)
            fact = Fact(event.occurred_at, version, event.status)
            facts = with_fact(facts, event.sender, fact)
            positions[version] = position
    if EVERY_SENDER in facts:
        facts = {s: f for s in facts if (f := deciding(facts, s))}
    decisive = overall_deciding(facts)
    if decisive is None:
        return [], []
    subject_id, phone_number, events = person
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
            deciding_fact.status,
            deciding_fact.occurred_at,
            positions[deciding_fact.version],
            deciding_fact.version,
        )
        for sender, deciding_fact in facts.items()
    ]
    return [number], senders
