"""The gate: who may be texted."""

from datetime import UTC, datetime
from itertools import product
from typing import Final
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.domain.consent import Fact, Subject
from ledger.domain.ids import EVERY_SENDER, Sender, Status, SubjectId, Version
from ledger.domain.sending import permission

OURS: Final = Sender("+14155550199")
OTHER: Final = Sender("MG1")
SOMEBODY: Final = SubjectId(UUID(int=1))


def fact(status: Status, day: int) -> Fact:
    """Said on a day of January."""
    return Fact(datetime(2026, 1, day, tzinfo=UTC), Version(day), status)


def subject(*, suppressed: bool = False, **facts: Fact) -> Subject:
    """Somebody who said this to ``ours``, to ``other`` or to ``every`` sender."""
    senders = {"ours": OURS, "other": OTHER, "every": EVERY_SENDER}
    said = {senders[name]: fact for name, fact in facts.items()}
    return Subject(SOMEBODY, Version(9), said, suppressed=suppressed)


@pytest.mark.parametrize(
    ("known", "status", "decides"),
    [
        (subject(), "unknown", None),
        (subject(suppressed=True), "out", None),
        (subject(ours=fact("in", 1)), "in", 1),
        (subject(ours=fact("out", 1)), "out", 1),
        (subject(other=fact("in", 1)), "unknown", None),
        (subject(other=fact("out", 1)), "out", 1),
        (subject(ours=fact("in", 1), every=fact("out", 2)), "out", 2),
        (subject(ours=fact("out", 1), every=fact("in", 2)), "in", 2),
        (subject(ours=fact("in", 2), other=fact("out", 3)), "in", 2),
        (subject(suppressed=True, ours=fact("in", 1)), "in", 1),
        (subject(suppressed=True, other=fact("in", 1)), "out", None),
    ],
)
def test_the_gate_opens_for_whoever_is_in(
    known: Subject, status: str, decides: int | None
) -> None:
    """In may be texted, out may not, and unknown only where that is wanted."""
    for to_unknown in (False, True):
        found = permission(known, OURS, to_unknown=to_unknown)
        assert found.status == status
        assert (found.fact.version if found.fact else None) == decides
        assert (
            found.is_given is {"in": True, "out": False, "unknown": to_unknown}[status]
        )


facts = st.builds(fact, st.sampled_from(("in", "out")), st.integers(1, 28))
people = st.builds(
    lambda suppressed, said: Subject(SOMEBODY, Version(9), said, suppressed=suppressed),
    st.booleans(),
    st.dictionaries(st.sampled_from((OURS, OTHER, EVERY_SENDER)), facts),
)


@given(people)
def test_no_setting_opens_the_gate_to_whoever_is_out(known: Subject) -> None:
    """Whatever was said: only the sender's own or every sender's ``in`` opens it."""
    for sender, to_unknown in product((OURS, OTHER), (False, True)):
        found = permission(known, sender, to_unknown=to_unknown)
        if found.status == "out":
            assert not found.is_given
        if found.is_given and not to_unknown:
            said = [known.facts.get(s) for s in (sender, EVERY_SENDER)]
            assert any(f is not None and f.status == "in" for f in said)
