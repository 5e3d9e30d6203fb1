"""Laws of consent, against a specification written down a second time.

The naive functions here are section 5 of the design, read literally over a list of what
was said. They share no line with ``ledger.domain.consent``.
"""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from builders import consent_changed, consent_lapsed, signal
from hypothesis import given
from hypothesis import strategies as st

from ledger.domain import consent
from ledger.domain.consent import (
    Fact,
    Facts,
    Subject,
    deciding,
    evolve,
    nobody,
    settled,
)
from ledger.domain.ids import NO_SENDER, Answer, Sender, Status, SubjectId, Version
from ledger.domain.signals import Signal

SUBJECT = SubjectId(UUID(int=1))
START = datetime(2026, 1, 1, tzinfo=UTC)
RECORDED = START + timedelta(days=1)
EVERY = Sender("*")
SENDERS = (Sender("+14155550101"), Sender("+14155550102"), Sender("MG1"), EVERY)
STRANGER = Sender("+14155550999")
ASKED = (*SENDERS, STRANGER)


class Said(NamedTuple):
    """One thing that a person said; or, to no sender, that the number changed hands."""

    sender: Sender
    status: Answer
    second: int

    @property
    def at(self) -> datetime:
        """When."""
        return START + timedelta(seconds=self.second)


statuses: st.SearchStrategy[Status] = st.sampled_from(("in", "out"))
seconds = st.integers(0, 12)
said = st.builds(Said, st.sampled_from(SENDERS), statuses, seconds)
lapses = st.builds(Said, st.just(NO_SENDER), st.just("unknown"), seconds)
told = said | said | said | lapses
histories = st.lists(told, max_size=10)
without_ties = st.lists(told, max_size=10, unique_by=lambda each: each.second)


def fold(history: list[Said]) -> Subject:
    """What our rules make of it, one event after the other."""
    subject = nobody(SUBJECT)
    for version, each in enumerate(history, start=1):
        if each.sender == NO_SENDER:
            subject = evolve(subject, consent_lapsed(SUBJECT, version, each.at))
            continue
        event = consent_changed(
            SUBJECT,
            version,
            sender=each.sender,
            status=each.status,
            occurred_at=each.at,
        )
        subject = evolve(subject, event)
    return subject


def naive_newest(history: list[Said], sender: Sender) -> Said | None:
    """The newest that was said to a sender or to all; of two at once, the later."""
    newest = None
    for each in people(history):
        to_it = each.sender in (sender, "*")
        if to_it and (newest is None or each.second >= newest.second):
            newest = each
    return newest


def people(history: list[Said]) -> list[Said]:
    """What people said."""
    return [each for each in history if each.sender != NO_SENDER]


def has_lapsed(history: list[Said], said: Said) -> bool:
    """Whether it was an ``in``, and the number has changed hands since."""
    placed = [(each.second, place) for place, each in enumerate(history)]
    at = max(placed[place] for place, each in enumerate(history) if each == said)
    hands = (p for p, e in zip(placed, history, strict=True) if e.sender == NO_SENDER)
    return said.status == "in" and any(hand > at for hand in hands)


def naive_status(history: list[Said], sender: Sender) -> Answer:
    """Rule 5, for one sender."""
    newest = naive_newest(history, sender)
    if newest is not None and not has_lapsed(history, newest):
        return newest.status
    others = [naive_newest(history, each.sender) for each in people(history)]
    return "out" if any(o and o.status == "out" for o in others) else "unknown"


def naive_overall(history: list[Said]) -> Answer:
    """Rule 5, for the number."""
    answers = {naive_status(history, each.sender) for each in people(history)}
    if "out" in answers:
        return "out"
    return "in" if "in" in answers else "unknown"


def answers_of(facts: Facts) -> list[Answer]:
    """All that can be asked."""
    each = [consent.status_for(facts, sender) for sender in ASKED]
    return [*each, consent.overall(facts)]


@given(histories)
def test_the_answers_are_those_of_the_specification(history: list[Said]) -> None:
    """For every sender, known or not, and for the number."""
    expected = [naive_status(history, sender) for sender in ASKED]
    assert answers_of(fold(history).facts) == [*expected, naive_overall(history)]


@given(histories)
def test_the_overall_status_holds_since_the_newest_fact_that_makes_it_so(
    history: list[Said],
) -> None:
    """The newest among the senders' newest that have that status; else the lapse."""
    status = naive_overall(history)
    newest = [naive_newest(history, each.sender) for each in people(history)]
    if newest and status == "unknown":
        newest = [each for each in history if each.sender == NO_SENDER]
    since = max((n.at for n in newest if n and n.status == status), default=None)
    decisive = consent.overall_deciding(fold(history).facts)
    assert (decisive and decisive.occurred_at) == since


@given(without_ties.flatmap(lambda h: st.tuples(st.just(h), st.permutations(h))))
def test_the_order_of_arrival_does_not_change_what_holds_in_the_end(
    histories: tuple[list[Said], list[Said]],
) -> None:
    """What counts is when it was said, if no two things were said at once."""
    first, second = (
        {s: (f.occurred_at, f.status) for s, f in fold(history).facts.items()}
        for history in histories
    )
    assert first == second
    assert answers_of(fold(histories[0]).facts) == answers_of(fold(histories[1]).facts)


@given(histories.filter(bool), st.data())
def test_an_event_folded_twice_changes_nothing(
    history: list[Said], data: st.DataObject
) -> None:
    """Neither at once nor after all the others."""
    place = data.draw(st.integers(0, len(history) - 1))
    sender, status, _ = history[place]
    fact = Fact(history[place].at, Version(place + 1), status)
    facts = fold(history).facts
    assert consent.with_fact(facts, sender, fact) == facts


@given(histories.filter(bool), told)
def test_a_late_fact_changes_what_holds_only_where_it_is_the_newest(
    history: list[Said], late: Said
) -> None:
    """An import of the past leaves alone whoever was told something since."""
    before, after = fold(history).facts, fold([*history, late]).facts
    for sender in ASKED:
        newest = naive_newest(history, sender)
        is_newer = newest is not None and newest.second > late.second
        if newest is not None and is_newer and not has_lapsed(history, newest):
            assert deciding(after, sender) == deciding(before, sender)
            status = consent.status_for(before, sender)
            assert consent.status_for(after, sender) == status


@given(histories.filter(bool), st.data())
def test_a_fact_older_than_all_to_a_known_sender_changes_no_answer(
    history: list[Said], data: st.DataObject
) -> None:
    """Not for that sender, not for another, not for the number; nor does a lapse."""
    sender = data.draw(st.sampled_from(history)).sender
    status: Answer = "unknown" if sender == NO_SENDER else data.draw(statuses)
    late = Said(sender, status, -1)
    assert answers_of(fold([*history, late]).facts) == answers_of(fold(history).facts)


@given(histories, st.sets(st.integers(1, 10)))
def test_folding_onto_deciding_facts_is_folding_onto_own_facts(
    history: list[Said], stops: set[int]
) -> None:
    """So ``projections.phone_numbers`` may keep no more than what decides.

    After any of the events, as after a batch, each sender's fact is replaced by the one
    that decides for it; what is folded onto that answers as the whole history does.
    """
    subject = nobody(SUBJECT)
    whole = fold(history)
    for version, each in enumerate(history, start=1):
        fact = Fact(each.at, Version(version), each.status)
        facts = consent.with_fact(subject.facts, each.sender, fact)
        if version in stops:
            facts = settled(facts)
        subject = Subject(SUBJECT, Version(version), facts)
    assert settled(subject.facts) == settled(whole.facts)
    assert answers_of(subject.facts) == answers_of(whole.facts)
    decisive = consent.overall_deciding(subject.facts)
    assert decisive == consent.overall_deciding(whole.facts)


@st.composite
def signals(draw: st.DrawFn) -> list[Signal]:
    """Texts, which happen when they are recorded, and calls about the past."""
    made = []
    for sender, status, second in draw(st.lists(said, max_size=8)):
        at = START + timedelta(seconds=second)
        occurred_at = draw(st.sampled_from((None, at)))
        undoes = draw(st.booleans())
        made.append(
            signal(
                sender=sender,
                status=status,
                occurred_at=occurred_at,
                undoes_out=undoes,
            )
        )
    return made


@given(histories, signals())
def test_a_batch_decides_as_its_signals_would_one_by_one(
    history: list[Said], batch: list[Signal]
) -> None:
    """What is assumed within a batch is what recording then makes true."""
    assumed = recorded = fold(history)
    for each in batch:
        proposals = consent.decide(assumed, each)
        assert proposals == consent.decide(recorded, each)
        for proposal in proposals:
            event = consent_changed(
                SUBJECT,
                proposal.version,
                sender=proposal.sender,
                status=proposal.status,
                occurred_at=proposal.occurred_at or RECORDED,
                timestamp=RECORDED,
            )
            assumed = consent.assume(assumed, proposal)
            recorded = evolve(recorded, event)
    assert answers_of(assumed.facts) == answers_of(recorded.facts)


@given(histories, signals().filter(bool))
def test_every_signal_is_recorded_but_a_yes_that_undoes_nothing(
    history: list[Said], batch: list[Signal]
) -> None:
    """A proposal repeats its signal; the status before is what the history says."""
    asked = batch[0]
    proposals = consent.decide(fold(history), asked)
    before = naive_status(history, asked.sender)
    if asked.status == "in" and before == "out" and not asked.undoes_out:
        assert proposals == []
        return
    [proposal] = proposals
    assert (proposal.previous_status, proposal.status) == (before, asked.status)
    assert (proposal.sender, proposal.version) == (asked.sender, len(history) + 1)


@given(histories, seconds)
def test_a_lapse_takes_no_out_away_and_makes_no_in(
    history: list[Said], second: int
) -> None:
    """What was ``in`` by then may be another's, and nothing else is.

    Somebody who is ``in`` after it has said so since.
    """
    lapsed = [*history, Said(NO_SENDER, "unknown", second)]
    before, after = fold(history).facts, fold(lapsed).facts
    for sender in ASKED:
        was, becomes = (consent.status_for(f, sender) for f in (before, after))
        newest = naive_newest(history, sender)
        if was == "in" and newest is not None and newest.second <= second:
            assert becomes != "in"
        else:
            assert becomes == was
    assert not consent.is_lapsing(after, START + timedelta(seconds=second))
