"""What an event changes of what a number says: pure, by the rules of the domain.

An event changes nothing that repeats what was said, or that is older than what is
known. The subtle part is whom else it changes: what is said to ``*`` is said to every
sender, a STOP to one puts those in doubt that were told nothing, and a lapse ends every
``in``. An erased person who comes back is a new subject, who may begin ``out``: the
first consent of a stream says so, by its previous status.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, Literal, NamedTuple, assert_never

from ledger.domain.consent import (
    Subject,
    answer_of,
    decisive_for,
    evolve,
    nobody,
)
from ledger.domain.events import (
    ConsentChanged,
    ConsentLapsed,
    LedgerEvent,
    SubjectErased,
)
from ledger.domain.ids import (
    EVERY_SENDER,
    NO_SENDER,
    Answer,
    Sender,
    SubjectId,
    Version,
)

Kind = Literal["consent.changed", "consent.lapsed", "subject.erased"]
OfConsent = ConsentChanged | ConsentLapsed | SubjectErased

_KINDS: Final[Mapping[type[LedgerEvent], Kind]] = {
    ConsentChanged: "consent.changed",
    ConsentLapsed: "consent.lapsed",
    SubjectErased: "subject.erased",
}


class SenderChange(NamedTuple):
    """What a number says for one sender, before and after."""

    sender: Sender
    previous_status: Answer
    status: Answer


class Change(NamedTuple):
    """What one event has changed."""

    kind: Kind
    subject_id: SubjectId
    version: Version
    about: SenderChange
    """For the event's own sender; overall, as ``*``, where it has none."""
    overall: SenderChange
    senders: tuple[SenderChange, ...]
    """Each known sender for which something has changed."""
    occurred_at: datetime
    recorded_at: datetime
    source: str | None
    """None for an erasure, which nobody has signalled."""


def change_by(earlier: Sequence[LedgerEvent], event: OfConsent) -> Change | None:
    """What an event has changed, after all that came earlier in its stream.

    None where that is nothing.
    """
    was_out = _was_out([*earlier, event])
    before = _folded(event.subject_id, earlier, was_out=was_out)
    after = evolve(before, event)
    about = overall = _overall(before, after)
    senders = _changed(before, after)
    has_changed = bool(senders) or _differs(overall)
    source: str | None = None
    match event:
        case ConsentChanged(sender=sender, source=source):
            about = _for_sender(before, after, sender)
        case ConsentLapsed(source=source):
            pass
        case SubjectErased(status=status):
            about = overall = overall._replace(status=status)
            has_changed = bool(before.facts)
        case _:
            assert_never(event)
    if not has_changed:
        return None
    return Change(
        kind=_KINDS[type(event)],
        subject_id=event.subject_id,
        version=event.version,
        about=about,
        overall=overall,
        senders=senders,
        occurred_at=event.occurred_at,
        recorded_at=event.recorded_at,
        source=source,
    )


def _was_out(events: Sequence[LedgerEvent]) -> bool:
    said = (event for event in events if isinstance(event, ConsentChanged))
    first = next(said, None)
    return first is not None and first.previous_status == "out"


def _folded(
    subject_id: SubjectId, events: Sequence[LedgerEvent], *, was_out: bool
) -> Subject:
    subject = nobody(subject_id, suppressed=was_out)
    for event in events:
        subject = evolve(subject, event)
    return subject


def _changed(before: Subject, after: Subject) -> tuple[SenderChange, ...]:
    known = sorted({*before.facts, *after.facts} - {NO_SENDER})
    each = (_for_sender(before, after, sender) for sender in known)
    return tuple(change for change in each if _differs(change))


def _differs(change: SenderChange) -> bool:
    return change.status != change.previous_status


def _overall(before: Subject, after: Subject) -> SenderChange:
    return SenderChange(EVERY_SENDER, _answer(before, None), _answer(after, None))


def _for_sender(before: Subject, after: Subject, sender: Sender) -> SenderChange:
    return SenderChange(sender, _answer(before, sender), _answer(after, sender))


def _answer(subject: Subject, sender: Sender | None) -> Answer:
    fact = decisive_for(subject.facts, sender)
    return answer_of(fact, suppressed=subject.suppressed)
