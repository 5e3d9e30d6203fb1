"""A person's own data, for an access request: all that the ledger has, as it is stored.

Read from the events and not from the tables, so it is complete at the position that it
names. What was destroyed is said to be so, and never guessed. The subtle part is
generations: after an erasure the same number is another subject, and both are the
person's.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from ledger.consent_record import consent_record
from ledger.domain.consent import (
    Facts,
    Subject,
    answer_of,
    deciding,
    overall_deciding,
)
from ledger.domain.events import ConsentChanged, ConsentLapsed
from ledger.domain.ids import (
    NO_SENDER,
    Answer,
    typed_number,
)
from ledger.errors import NotFound
from ledger.event_record import event_records
from ledger.generations import Generation, generations_of
from ledger.store.codec import RecordedEvent
from ledger.store.event_store import EventStore
from ledger.store.keyring import Keyring

SubjectExport = dict[str, Any]


async def export_subject(
    store: EventStore, keyring: Keyring, given: str, *, at: datetime
) -> SubjectExport:
    """Everything about ``given``, a number.

    Raises:
        NotFound: it was never seen.
        StoreUnavailable: the database cannot be read now.
    """
    number = typed_number(given)
    position = await store.last_position()
    generations = await generations_of(store, keyring, number, position)
    if not generations:
        raise NotFound("this number was never seen")
    recorded = sorted(event for one in generations for event in one.everything)
    newest = generations[-1].subject
    status, since = _now(newest)
    if newest.suppressed and since is None:
        since = _suppressed_since(generations)
    return {
        "exportedAt": at,
        "position": position,
        "phoneNumber": {"given": given, "understood": number},
        "status": status,
        "since": since,
        "suppressed": newest.suppressed,
        "senders": [] if newest.erased else _senders(newest.facts),
        "subjects": [_subject(i, g.subject, at) for i, g in enumerate(generations)],
        "events": await event_records(keyring, recorded),
        "consentRecord": consent_record(number, newest.id, _changes(recorded)),
    }


def _changes(
    recorded: Sequence[RecordedEvent],
) -> list[ConsentChanged | ConsentLapsed]:
    kinds = ConsentChanged | ConsentLapsed
    return [event for _, event in recorded if isinstance(event, kinds)]


def _now(subject: Subject) -> tuple[Answer, datetime | None]:
    """What the number is answered with for every sender together, and since when."""
    fact = None if subject.erased else overall_deciding(subject.facts)
    status = answer_of(fact, suppressed=subject.suppressed)
    return status, fact.occurred_at if fact and fact.status == status else None


def _suppressed_since(generations: Sequence[Generation]) -> datetime | None:
    """Since when it was out, of the newest subject that was erased while out."""
    facts = (overall_deciding(one.subject.facts) for one in reversed(generations))
    return next((f.occurred_at for f in facts if f and f.status == "out"), None)


def _senders(facts: Facts) -> list[dict[str, object]]:
    return [
        {"sender": sender, "status": fact.status, "since": fact.occurred_at}
        for sender in sorted(facts.keys() - {NO_SENDER})
        if (fact := deciding(facts, sender))
    ]


def _subject(generation: int, subject: Subject, at: datetime) -> dict[str, object]:
    until = subject.held_until
    return {
        "subjectId": str(subject.id),
        "generation": generation,
        "erased": subject.erased,
        "held": until is not None and until > at and not subject.erased,
        "heldUntil": until,
        "status": _now(subject)[0],
        "senders": _senders(subject.facts),
    }
