"""What Twilio is told, against the rule written down a second time."""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from builders import NUMBER, consent_changed
from hypothesis import given
from hypothesis import strategies as st

from ledger.domain.consent import evolve, nobody, status_for
from ledger.domain.events import ConsentChanged
from ledger.domain.ids import EVERY_SENDER, Sender, Status, SubjectId
from ledger.pushing.wishes import Told, wishes_of

SUBJECT = SubjectId(UUID(int=1))
START = datetime(2026, 1, 1, tzinfo=UTC)
SERVICE, POOLED, LOCAL = Sender("MG1"), Sender("+14155550188"), Sender("+14155550199")
TOLL_FREE = Sender("+18005550199")
TOLD = (
    Told(SERVICE, for_all=True, is_toll_free=False, scope=frozenset({SERVICE, POOLED})),
    Told(POOLED, for_all=False, is_toll_free=False, scope=frozenset({SERVICE, POOLED})),
    Told(LOCAL, for_all=True, is_toll_free=False, scope=frozenset({LOCAL})),
    Told(TOLL_FREE, for_all=True, is_toll_free=True, scope=frozenset({TOLL_FREE})),
)
KINDS = (
    ("twilio.inbound", "keyword"),
    ("twilio.inbound", "freeText"),
    ("twilio.import", "optOutType"),
    ("twilio.status", "error21610"),
    ("api", "explicit"),
    ("import", "explicit"),
)


class Said(NamedTuple):
    """Something that was said, and how it is known."""

    sender: Sender
    status: Status
    kind: tuple[str, str]
    second: int


said = st.builds(
    Said,
    st.sampled_from((SERVICE, POOLED, LOCAL, TOLL_FREE, EVERY_SENDER)),
    st.sampled_from(("in", "out")),
    st.sampled_from(KINDS),
    st.integers(0, 9),
)


def events_of(history: list[Said]) -> list[ConsentChanged]:
    """The history, as it was recorded."""
    return [
        consent_changed(
            SUBJECT,
            version,
            sender=one.sender,
            status=one.status,
            source=one.kind[0],
            matched_by=one.kind[1],
            occurred_at=START + timedelta(seconds=one.second),
        )
        for version, one in enumerate(history, start=1)
    ]


@given(st.lists(said, max_size=8))
def test_no_in_is_told_over_a_stop_and_every_out_is_told(history: list[Said]) -> None:
    """For each sender that something was said to, what holds; an ``in`` only if safe.

    Safe is what no STOP that came by Twilio is against, or what the person's own START
    came after, but to a toll-free number.
    """
    subject = nobody(SUBJECT)
    for event in events_of(history):
        subject = evolve(subject, event)
    wishes, _ = wishes_of(subject, NUMBER, events_of(history), TOLD)
    told = {wish.sender: wish.status for wish in wishes}
    placed = sorted(enumerate(history), key=lambda each: (each[1].second, each[0]))
    ordered = [one for _, one in placed]
    for sender, for_all, is_toll_free, scope in TOLD:
        own = any(one.sender == sender for one in ordered)
        every = any(one.sender == EVERY_SENDER for one in ordered)
        status = status_for(subject.facts, sender)
        if not own and not (every and for_all):
            assert sender not in told
        elif status == "out":
            assert told[sender] == "out"
        else:
            twilio_s = [
                one.status
                for one in ordered
                if one.kind[0].startswith("twilio.")
                and (one.sender in scope or one.sender == EVERY_SENDER)
                and (one.status == "out" or is_start(one, scope))
            ]
            is_safe = "out" not in twilio_s
            if not is_toll_free:
                is_safe = is_safe or twilio_s[-1] == "in"
            assert told.get(sender) == ("in" if is_safe else None)


def is_start(one: Said, scope: frozenset[Sender]) -> bool:
    """Whether it is a word that Twilio itself acts on."""
    return one.sender in scope and one.kind[1] in {"keyword", "optOutType"}
