"""The rules of consent: what a subject's events add up to, and what a signal adds.

``evolve`` folds events, ``decide`` turns a signal into events, ``status_for`` and
``overall`` answer. The write side, both projections and every audit use these four, so
there is one place where a rule can be wrong. The subtle part is that *newest* means
greatest (occurred at, version): an import may bring an older fact than those known,
which changes what was true then and not what is true now. A lapse is no fact of a
sender's: it stands under ``NO_SENDER``, and makes every ``in`` of before it
``unknown``, in whatever order the two become known. Such a fact keeps its time, by
which it is newer or older than others.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final, NamedTuple

from ledger.domain.classify import MatchedBy
from ledger.domain.events import (
    ConsentChanged,
    ConsentLapsed,
    HoldPlaced,
    HoldReleased,
    LedgerEvent,
    SubjectErased,
)
from ledger.domain.ids import (
    EVERY_SENDER,
    NO_SENDER,
    Answer,
    PhoneNumber,
    Sender,
    Status,
    SubjectId,
    Version,
)
from ledger.domain.signals import Evidence, Signal, Source
from ledger.errors import PreconditionFailed


# A tuple, as signals are: a list of ten thousand numbers has as many of them.
class Fact(NamedTuple):
    """The newest thing known for a sender; ordered by when it was so."""

    occurred_at: datetime
    version: Version
    status: Answer
    """``unknown`` where it was ``in``, and has lapsed; and of the lapse itself."""


Facts = Mapping[Sender, Fact]
NO_FACTS: Final[Facts] = MappingProxyType({})
_WHEN_RECORDED: Final = datetime.max.replace(tzinfo=UTC)


class Subject(NamedTuple):
    """A person's consent, as far as the stream has been read."""

    id: SubjectId
    version: Version
    facts: Facts
    suppressed: bool = False
    """Whether an earlier subject of the same person was erased while it was out."""
    suppressed_since: datetime | None = None
    """When what made it out occurred."""
    held_until: datetime | None = None
    """The end of a legal hold, which may have passed; the latest of several."""
    erased: bool = False
    """Whether the stream has ended; what comes later is a new subject's."""


class Proposal(NamedTuple):
    """An event but for what only the store can give: when it is recorded."""

    subject_id: SubjectId
    version: Version
    status: Status
    previous_status: Answer
    sender: Sender
    occurred_at: datetime | None
    source: Source
    matched_by: MatchedBy
    actor: str
    phone_number: PhoneNumber
    evidence: Evidence


def nobody(
    subject_id: SubjectId,
    *,
    suppressed: bool = False,
    suppressed_since: datetime | None = None,
) -> Subject:
    """A subject of whom nothing is known, but that it may have been out before."""
    return Subject(subject_id, Version(0), NO_FACTS, suppressed, suppressed_since)


def evolve(subject: Subject, event: LedgerEvent) -> Subject:
    """The subject after one more event of its stream."""
    match event:
        case ConsentChanged(occurred_at=occurred_at, version=version, status=status):
            fact = Fact(occurred_at, version, status)
            facts = with_fact(subject.facts, event.sender, fact)
            return subject._replace(version=version, facts=facts)
        case ConsentLapsed(occurred_at=occurred_at, version=version):
            facts = with_fact(subject.facts, *lapse(occurred_at, version))
            return subject._replace(version=version, facts=facts)
        case SubjectErased():
            return subject._replace(
                version=event.version,
                suppressed=subject.suppressed or event.status == "out",
                suppressed_since=_out_since(subject),
                erased=True,
            )
        case HoldPlaced():
            until = max(event.until, subject.held_until or event.until)
            return subject._replace(version=event.version, held_until=until)
        case HoldReleased():
            return subject._replace(version=event.version, held_until=None)
        case _:
            return subject._replace(version=event.version)


def facts_as_of(
    changes: Iterable[ConsentChanged | ConsentLapsed],
    *,
    as_of: datetime,
    known_at: datetime,
) -> Facts:
    """What was so at ``as_of``, by what had been recorded at ``known_at``.

    Two clocks: an import may bring, much later, what somebody said long before. The
    order of ``changes``, which are one subject's, does not matter.
    """
    return newest_facts(
        fact_of(change)
        for change in changes
        if change.occurred_at <= as_of and change.recorded_at <= known_at
    )


def fact_of(
    event: ConsentChanged | ConsentLapsed, version: Version | None = None
) -> tuple[Sender, Fact]:
    """What an event adds to the facts; with another order in place of its version."""
    place = event.version if version is None else version
    if isinstance(event, ConsentLapsed):
        return lapse(event.occurred_at, place)
    return event.sender, Fact(event.occurred_at, place, event.status)


def lapse(occurred_at: datetime, version: Version) -> tuple[Sender, Fact]:
    """A lapse, as it stands among the facts."""
    return NO_SENDER, Fact(occurred_at, version, "unknown")


def _out_since(subject: Subject) -> datetime | None:
    """When the newest thing occurred that makes it out, if anything does."""
    fact = overall_deciding(subject.facts)
    if fact is None or fact.status != "out":
        return subject.suppressed_since
    before = subject.suppressed_since or fact.occurred_at
    return max(before, fact.occurred_at)


def with_fact(facts: Facts, sender: Sender, fact: Fact) -> Facts:
    """``facts`` and one more, which counts only if it is the sender's newest."""
    known = facts.get(sender)
    if known is not None and known > fact:
        return facts
    more = {**facts, sender: fact}
    return with_lapse(more) if NO_SENDER in more else more


def with_lapse(facts: Facts) -> Facts:
    """The same where there is no lapse; else what was ``in`` by then is ``unknown``."""
    lapsed = facts.get(NO_SENDER)
    if lapsed is None:
        return facts
    return {
        sender: fact._replace(status="unknown")
        if fact.status == "in" and fact < lapsed
        else fact
        for sender, fact in facts.items()
    }


def newest_facts(said: Iterable[tuple[Sender, Fact]]) -> Facts:
    """What ``with_fact`` makes of many, one after the other, in one go."""
    newest: dict[Sender, Fact] = {}
    for sender, fact in said:
        known = newest.get(sender)
        if known is None or known <= fact:
            newest[sender] = fact
    return with_lapse(newest)


def decide(subject: Subject, signal: Signal) -> list[Proposal]:
    """What to append for a signal; an empty list means that nothing is to be done.

    Every distinct signal is appended, a second STOP too: it is evidence. There are two
    exceptions. A YES undoes nothing where a toll-free STOP stands until START (Twilio
    help centre 360058144374). And what is older than the ``out`` that an erasure has
    left is of the past that was erased: newest wins, and it is not the newest.

    Raises:
        PreconditionFailed: the subject is not at the version that the signal names.
    """
    expected = signal.expected_version
    if expected is not None and expected != subject.version:
        raise PreconditionFailed(f"version {subject.version}, not {expected}")
    before = status_for(subject.facts, signal.sender, suppressed=subject.suppressed)
    if signal.status == "in" and before == "out" and not signal.undoes_out:
        return []
    if _is_of_erased_past(subject, signal):
        return []
    # By place, as everything that is made for each text: names take as long again.
    return [
        Proposal(
            subject.id,
            Version(subject.version + 1),
            signal.status,
            before,
            signal.sender,
            signal.occurred_at,
            signal.source,
            signal.matched_by,
            signal.actor,
            signal.phone_number,
            signal.evidence,
        )
    ]


def _is_of_erased_past(subject: Subject, signal: Signal) -> bool:
    since, at = subject.suppressed_since, signal.occurred_at
    return since is not None and at is not None and at <= since


def assume(subject: Subject, proposal: Proposal) -> Subject:
    """The subject as it will be once ``proposal`` is recorded.

    For deciding the next signal of the same batch. What happens when it is recorded is
    newer than all that is known, since nothing may be from the future.
    """
    occurred_at = proposal.occurred_at or _WHEN_RECORDED
    fact = Fact(occurred_at, proposal.version, proposal.status)
    facts = with_fact(subject.facts, proposal.sender, fact)
    return subject._replace(version=proposal.version, facts=facts)


def is_lapsing(facts: Facts, at: datetime) -> bool:
    """Whether something is ``in`` that a lapse at that time would end."""
    return any(f.status == "in" and f.occurred_at <= at for f in facts.values())


def deciding(facts: Facts, sender: Sender) -> Fact | None:
    """The newest fact addressed to ``sender`` or to every sender, if there is one."""
    own, every = facts.get(sender), facts.get(EVERY_SENDER)
    if own is None or every is None:
        return own or every
    return max(own, every)


def settled(facts: Facts) -> Facts:
    """Each sender with the fact that decides for it, and the lapse if there is one.

    Folding onto these gives the same as folding onto each sender's own.
    """
    return {
        sender: fact
        if sender == NO_SENDER
        else max(fact, facts.get(EVERY_SENDER, fact))
        for sender, fact in facts.items()
    }


def status_for(facts: Facts, sender: Sender, *, suppressed: bool = False) -> Answer:
    """Whether ``sender`` may text: the deciding fact's status.

    Without one, or where it has lapsed: ``out`` where the number is out for some other
    sender, or was before it was erased (doubt is a no), else ``unknown``. Consent given
    to one sender is not consent for another.
    """
    if not facts:
        return "out" if suppressed else "unknown"
    return answer_of(decisive_for(facts, sender), suppressed=suppressed)


def overall(facts: Facts) -> Answer:
    """``out`` if out for any sender, else ``in`` if in for any, else ``unknown``."""
    decisive = overall_deciding(facts)
    return decisive.status if decisive else "unknown"


def overall_deciding(facts: Facts) -> Fact | None:
    """The newest fact among those that make the overall status what it is.

    Where all that was ``in`` has lapsed, the lapse.
    """
    every = facts.get(EVERY_SENDER)
    # Who was told something older than what all were told has been told that since.
    latest = [
        fact
        for sender, fact in facts.items()
        if sender != NO_SENDER and (every is None or fact >= every)
    ]
    for status in ("out", "in"):
        if decisive := [fact for fact in latest if fact.status == status]:
            return max(decisive)
    return facts.get(NO_SENDER) if latest else None


def answer_of(fact: Fact | None, *, suppressed: bool = False) -> Answer:
    """What ``decisive_for`` answers with; ``suppressed`` as for ``status_for``."""
    if fact is not None and fact.status != "unknown":
        return fact.status
    return "out" if suppressed else "unknown"


def decisive_for(facts: Facts, sender: Sender | None) -> Fact | None:
    """The fact that makes a status what it is: for ``sender``, or, with None, overall.

    Where a sender was told nothing, or what it was told has lapsed, it is the one that
    says ``out`` to another; else the lapse, where that is the reason. None where no
    fact does.
    """
    if sender is None:
        return overall_deciding(facts)
    fact = deciding(facts, sender)
    if fact is not None and fact.status != "unknown":
        return fact
    other = overall_deciding(facts)
    if other is not None and other.status == "out":
        return other
    return None if fact is None else facts.get(NO_SENDER)
