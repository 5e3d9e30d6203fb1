"""What a stored event lacks never makes anybody ``in``: a law over the corpus."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson
import pytest
from corpus.kept import Kept, kept
from hypothesis import given
from hypothesis import strategies as st

from ledger.domain.consent import Subject, evolve, nobody, overall, status_for
from ledger.domain.events import ConsentChanged, LedgerEvent
from ledger.domain.ids import SubjectId
from ledger.errors import EventBroken, UnknownEvent
from ledger.store.codec import StoredRow, decode

CORPUS: Final = kept()
LACKING: Final = [
    pytest.param(event, name, id=f"{event.row.notification_id}-{name}")
    for event in CORPUS
    for name in event.state
]
junk = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.text(st.characters(codec="utf-8"))
    | st.lists(st.none())
)


def with_state(event: Kept, state: Mapping[str, Any]) -> StoredRow:
    """The event's row, as if something else had been stored."""
    return event.row._replace(state=orjson.dumps(state))


def folded(rows: Iterable[StoredRow]) -> Subject:
    """What a stream adds up to."""
    subject: Subject | None = None
    for row in rows:
        subject = evolve(
            subject or nobody(SubjectId(row.originator_id)), decode(row).event
        )
    assert subject is not None
    return subject


def whose_in(subject: Subject) -> set[str]:
    """The senders that may text, and the overall status if it is ``in``."""
    suppressed = subject.suppressed
    senders = {s for s in subject.facts if status_for(subject.facts, s) == "in"}
    others = {s for s in ("nobody",) if _is_in(subject, s, suppressed=suppressed)}
    return senders | others | ({"overall"} if overall(subject.facts) == "in" else set())


def _is_in(subject: Subject, sender: Any, *, suppressed: bool) -> bool:
    return status_for(subject.facts, sender, suppressed=suppressed) == "in"


def assert_nobody_becomes_in(event: Kept, state: Mapping[str, Any]) -> None:
    """Refused, or folded to no more than the whole event was."""
    stream = [e.row for e in CORPUS if e.row.originator_id == event.row.originator_id]
    altered = [row if row != event.row else with_state(event, state) for row in stream]
    try:
        found = folded(altered)
    except (EventBroken, UnknownEvent):
        return
    assert whose_in(found) <= whose_in(folded(stream))


@pytest.mark.parametrize(("event", "name"), LACKING)
def test_a_stored_event_that_lacks_a_field_is_refused(event: Kept, name: str) -> None:
    """The fault names the position and the field; nothing takes its place."""
    state = event.state
    del state[name]
    if name == "class_version":
        return assert_nobody_becomes_in(event, state)
    with pytest.raises(EventBroken) as refused:
        decode(with_state(event, state))
    assert f"position {event.row.notification_id} " in str(refused.value)
    assert name in str(refused.value)
    return None


@given(st.sampled_from(CORPUS), st.data())
def test_several_fields_that_are_gone_make_nobody_in(
    event: Kept, data: st.DataObject
) -> None:
    """Whichever they are, of whichever kind and version."""
    gone = data.draw(st.sets(st.sampled_from(sorted(event.state))))
    state = {name: value for name, value in event.state.items() if name not in gone}
    assert_nobody_becomes_in(event, state)


@given(st.sampled_from([e for e in CORPUS if "status" in e.state]), junk)
def test_a_status_that_is_none_is_refused(event: Kept, status: object) -> None:
    """Null, or whatever stands in its place."""
    is_of_text = event.kind.startswith("Message") and isinstance(status, str)
    if is_of_text or status in ("in", "out", "unknown"):
        return
    with pytest.raises(EventBroken, match="a status that is none"):
        decode(with_state(event, event.state | {"status": status}))


@pytest.mark.parametrize("stored", [None, "in"])
def test_an_upcaster_that_says_in_for_somebody_is_refused(
    monkeypatch: pytest.MonkeyPatch, stored: str | None
) -> None:
    """Where the old event has no status, or another."""

    def upcast_v1_v2(state: dict[str, Any]) -> None:
        state["status"] = "in" if state.get("status") != "in" else "out"

    monkeypatch.setattr(ConsentChanged, "class_version", 2, raising=False)
    step = staticmethod(upcast_v1_v2)
    monkeypatch.setattr(ConsentChanged, "upcast_v1_v2", step, raising=False)
    [event, *_] = CORPUS
    state = event.state | {"status": stored}
    if stored is None:
        del state["status"]
    with pytest.raises(EventBroken, match=r"position 1: .* changed its status"):
        decode(with_state(event, state))


def test_a_field_that_no_version_has_is_refused() -> None:
    """It says something that this release does not understand."""
    event = CORPUS[0]
    with pytest.raises(EventBroken, match="position 1 holds purpose, which no version"):
        decode(with_state(event, event.state | {"purpose": "all"}))


@pytest.mark.parametrize("state", [b"", b"{", b"[]", b"null", b'{"timestamp":{}}'])
def test_what_is_no_state_is_refused(state: bytes) -> None:
    """By its position; what it holds is not told."""
    with pytest.raises(EventBroken, match=r"^position 1 "):
        decode(CORPUS[0].row._replace(state=state))


def test_an_event_that_is_read_has_all_its_fields() -> None:
    """Nothing is found missing later, in the middle of a projection."""
    for event in CORPUS:
        found: LedgerEvent = decode(event.row).event
        assert repr(found)
