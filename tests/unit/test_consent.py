"""The rules of consent: given what was said, when a signal comes, then these events."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from builders import NUMBER, SENDER, consent_changed, signal

from ledger.domain.consent import (
    NO_FACTS,
    Fact,
    Proposal,
    Subject,
    assume,
    decide,
    deciding,
    evolve,
    nobody,
    overall,
    overall_deciding,
    status_for,
)
from ledger.domain.ids import (
    EVERY_SENDER,
    Answer,
    Sender,
    Status,
    SubjectId,
    Version,
)
from ledger.errors import PreconditionFailed

SUBJECT = SubjectId(UUID(int=1))
OTHER = Sender("MG" + "b" * 32)
THIRD = Sender("+14155550177")
START = datetime(2026, 1, 1, tzinfo=UTC)


def day(number: int) -> datetime:
    """A day of 2026."""
    return START + timedelta(days=number)


@dataclass
class Given:
    """What a subject has said so far, one event a day unless it says otherwise."""

    subject: Subject = field(default_factory=lambda: nobody(SUBJECT))

    def said(
        self, status: Status, sender: Sender = SENDER, at: int | None = None
    ) -> "Given":
        """One more event."""
        version = self.subject.version + 1
        event = consent_changed(
            SUBJECT,
            version,
            status=status,
            sender=sender,
            occurred_at=day(version if at is None else at),
            timestamp=day(version),
        )
        self.subject = evolve(self.subject, event)
        return self

    def when(self, **more: Any) -> list[Proposal]:
        """What a signal adds."""
        return decide(self.subject, signal(**more))


def test_the_first_stop_is_recorded_with_all_that_it_says() -> None:
    """An event repeats its signal and adds the version and the status before."""
    stop = signal(evidence={"Body": "Stop!"}, actor="subject")
    assert decide(nobody(SUBJECT), stop) == [
        Proposal(
            subject_id=SUBJECT,
            version=Version(1),
            status="out",
            previous_status="unknown",
            sender=SENDER,
            occurred_at=None,
            source="twilio.inbound",
            matched_by="keyword",
            actor="subject",
            phone_number=NUMBER,
            evidence={"Body": "Stop!"},
        )
    ]


def test_a_second_stop_is_recorded_too() -> None:
    """It changes nothing and is evidence."""
    [again] = Given().said("out").when(status="out")
    assert (again.version, again.previous_status, again.status) == (2, "out", "out")


def test_a_start_undoes_a_stop() -> None:
    """The event says what the status was before and is after."""
    [start] = Given().said("out").when(status="in")
    assert (start.previous_status, start.status) == ("out", "in")


def test_a_yes_to_a_toll_free_number_does_not_undo_a_stop() -> None:
    """The carrier goes on blocking, so nothing is recorded."""
    assert Given().said("out").when(status="in", undoes_out=False) == []


@pytest.mark.parametrize("before", ["in", None])
def test_a_yes_to_a_toll_free_number_opts_in_where_nothing_is_undone(
    before: Status | None,
) -> None:
    """It is a consent like any other for someone who is not out."""
    given = Given() if before is None else Given().said(before)
    [yes] = given.when(status="in", undoes_out=False)
    assert yes.status == "in"


def test_a_stop_to_one_sender_keeps_a_yes_to_a_toll_free_one_from_counting() -> None:
    """Out for another sender is out, in doubt, so the YES would undo it."""
    given = Given().said("out", OTHER)
    assert given.when(status="in", undoes_out=False) == []


def test_a_signal_for_the_version_at_hand_is_recorded() -> None:
    """If-Match holds."""
    given = Given().said("in").said("out")
    [start] = given.when(status="in", expected_version=Version(2))
    assert start.version == 3


@pytest.mark.parametrize("expected", [0, 1, 3])
def test_a_signal_for_another_version_is_refused(expected: int) -> None:
    """If-Match does not hold: the caller has not seen all that was said."""
    given = Given().said("in").said("out")
    with pytest.raises(PreconditionFailed, match=f"version 2, not {expected}"):
        given.when(expected_version=Version(expected))


@pytest.mark.parametrize(
    ("said", "sender", "status"),
    [
        ([], SENDER, "unknown"),
        ([], EVERY_SENDER, "unknown"),
        ([("in", SENDER)], SENDER, "in"),
        ([("out", SENDER)], SENDER, "out"),
        # Consent to one sender is not consent to another; a doubt is a no.
        ([("in", SENDER)], OTHER, "unknown"),
        ([("in", SENDER)], EVERY_SENDER, "unknown"),
        ([("out", SENDER)], OTHER, "out"),
        ([("out", SENDER)], EVERY_SENDER, "out"),
        ([("out", SENDER), ("in", OTHER)], THIRD, "out"),
        ([("out", SENDER), ("in", OTHER)], OTHER, "in"),
        ([("out", SENDER), ("in", SENDER)], OTHER, "unknown"),
        # The newest of what was said to a sender and to all decides.
        ([("in", EVERY_SENDER)], SENDER, "in"),
        ([("out", EVERY_SENDER)], SENDER, "out"),
        ([("in", SENDER), ("out", EVERY_SENDER)], SENDER, "out"),
        ([("out", EVERY_SENDER), ("in", SENDER)], SENDER, "in"),
        ([("out", EVERY_SENDER), ("in", SENDER)], OTHER, "out"),
        ([("out", EVERY_SENDER), ("in", SENDER)], EVERY_SENDER, "out"),
        ([("out", SENDER), ("in", EVERY_SENDER)], SENDER, "in"),
        ([("out", SENDER), ("in", EVERY_SENDER)], OTHER, "in"),
    ],
)
def test_the_status_for_a_sender(
    said: list[tuple[Status, Sender]], sender: Sender, status: Answer
) -> None:
    """Rule 5 of the design, case by case; one event a day."""
    given = Given()
    for each in said:
        given.said(*each)
    assert status_for(given.subject.facts, sender) == status
    [proposal] = given.when(sender=sender)
    assert proposal.previous_status == status


@pytest.mark.parametrize(
    ("said", "status", "decided_on"),
    [
        ([], "unknown", None),
        ([("in", SENDER)], "in", 1),
        ([("in", SENDER), ("in", OTHER)], "in", 2),
        ([("in", SENDER), ("out", OTHER)], "out", 2),
        ([("out", OTHER), ("in", SENDER)], "out", 1),
        ([("out", OTHER), ("in", SENDER), ("in", OTHER)], "in", 3),
        ([("out", SENDER), ("in", EVERY_SENDER)], "in", 2),
        ([("out", EVERY_SENDER), ("in", SENDER)], "out", 1),
        ([("out", SENDER), ("out", OTHER), ("in", OTHER)], "out", 1),
        ([("out", SENDER), ("out", OTHER)], "out", 2),
    ],
)
def test_the_overall_status_is_the_stricter(
    said: list[tuple[Status, Sender]], status: Answer, decided_on: int | None
) -> None:
    """Out for any sender is out, since the newest fact that makes it so."""
    given = Given()
    for each in said:
        given.said(*each)
    assert overall(given.subject.facts) == status
    decisive = overall_deciding(given.subject.facts)
    assert (decisive and decisive.occurred_at) == (decided_on and day(decided_on))


def test_an_older_fact_does_not_change_the_status_now() -> None:
    """An import of an opt-in before a known STOP is recorded and decides nothing."""
    given = Given().said("out", at=10)
    [late] = given.when(status="in", occurred_at=day(5), source="import")
    assert late.previous_status == "out"
    assert given.said("in", at=5).subject.version == 2
    assert status_for(given.subject.facts, SENDER) == "out"


def test_of_two_facts_of_the_same_time_the_later_recorded_one_counts() -> None:
    """Newest means greatest (occurred at, position)."""
    given = Given().said("out", at=5).said("in", at=5)
    assert status_for(given.subject.facts, SENDER) == "in"


def test_deciding_takes_the_newer_of_own_and_every_whichever_it_is() -> None:
    """An older fact for all does not undo what the sender was told since."""
    own, every = Fact(day(2), Version(1), "in"), Fact(day(1), Version(2), "out")
    facts = {SENDER: own, EVERY_SENDER: every}
    assert deciding(facts, SENDER) == own
    assert deciding(facts, OTHER) == every
    assert deciding(NO_FACTS, SENDER) is None


def test_a_batch_decides_on_what_it_has_decided_before() -> None:
    """The next signal of a batch sees the one before as if it were recorded."""
    first, second = signal(status="out"), signal(status="in")
    subject = nobody(SUBJECT)
    [proposal] = decide(subject, first)
    subject = assume(subject, proposal)
    [next_one] = decide(subject, second)
    assert (next_one.version, next_one.previous_status) == (2, "out")


def test_what_is_assumed_is_newer_than_what_is_known_only_if_it_happens_now() -> None:
    """An import in a batch stays where it was in time; a text comes last."""
    given = Given().said("out", at=10)
    [imported] = given.when(status="in", occurred_at=day(5))
    assert status_for(assume(given.subject, imported).facts, SENDER) == "out"
    [text] = given.when(status="in")
    assert status_for(assume(given.subject, text).facts, SENDER) == "in"


def test_an_event_folds_itself_onto_nobody_and_onto_somebody() -> None:
    """The library's repository needs no code of ours but the event."""
    first = consent_changed(SUBJECT, 1, status="in")
    second = consent_changed(SUBJECT, 2, status="out", sender=OTHER)
    subject = second.mutate(first.mutate(None))
    assert subject == evolve(evolve(nobody(SUBJECT), first), second)
    assert (subject.id, subject.version) == (SUBJECT, 2)


def test_an_event_names_its_subject_its_version_and_when_it_was_recorded() -> None:
    """Our words for the library's fields."""
    event = consent_changed(SUBJECT, 7, timestamp=day(3))
    named = (event.subject_id, event.version, event.recorded_at)
    assert named == (SUBJECT, 7, day(3))


def test_an_event_cannot_be_edited() -> None:
    """It is a fact."""
    event = consent_changed(SUBJECT)
    with pytest.raises(AttributeError):
        event.status = "in"  # type: ignore[misc]
