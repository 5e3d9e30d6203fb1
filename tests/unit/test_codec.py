"""The stored form, to the byte, and what another release left behind.

That it is the library's own form is a property: ``test_codec_properties``.
"""

from datetime import UTC, datetime
from uuid import UUID

import orjson
import pytest
from builders import NUMBER, SENDER, entry

from ledger.domain.events import ConsentChanged
from ledger.domain.ids import SubjectId
from ledger.errors import UnknownEvent
from ledger.store.codec import STATE_HEAD, STATE_MIDDLE, Entry, StoredRow, decode

SUBJECT = SubjectId(UUID(int=7))
TOPIC = "ledger.domain.events:ConsentChanged"
AT = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)


def joined(given: Entry, recorded_at: str, occurred_at: str) -> bytes:
    """A state, as the append's statement joins it."""
    head, middle = STATE_HEAD, STATE_MIDDLE
    return head + recorded_at.encode() + middle + occurred_at.encode() + given.tail


def stored(state: bytes, topic: str = TOPIC) -> StoredRow:
    """A row of the events table."""
    return StoredRow(SUBJECT, 3, topic, state, 12)


def test_an_entry_is_the_proposal_without_its_times() -> None:
    """The stored form is released: these bytes are in people's ledgers."""
    given = entry(SUBJECT, key="api:1", evidence={"Body": "Stop ✋"}, occurred_at=AT)
    assert given == Entry(
        key="api:1",
        subject_id=SUBJECT,
        version=given.version,
        topic=TOPIC,
        occurred_at=AT,
        tail=(
            '"},"status":"out","previous_status":"unknown","sender":"+14155550199",'
            '"source":"twilio.inbound","matched_by":"keyword","actor":"subject",'
            '"phone_number":"+14155550100","evidence":{"Body":"Stop ✋"}}'
        ).encode(),
    )


def test_a_row_of_the_first_release_is_read() -> None:
    """Written down here, so that no later release forgets it."""
    state = (
        b'{"timestamp":{"_type_":"datetime_iso",'
        b'"_data_":"2026-01-02T03:04:05.000678+00:00"},'
        b'"occurred_at":{"_type_":"datetime_iso",'
        b'"_data_":"2025-12-31T00:00:00.000000+00:00"},'
        b'"status":"in","previous_status":"out","sender":"*","source":"import",'
        b'"matched_by":"explicit","actor":"key:crm","phone_number":"+14155550100",'
        b'"evidence":{"form":{"url":"https://example.com"},"n":null}}'
    )
    position, event = decode(stored(state))
    assert position == 12
    assert event == ConsentChanged(
        originator_id=SUBJECT,
        originator_version=3,
        timestamp=AT,
        status="in",
        previous_status="out",
        sender=type(SENDER)("*"),
        occurred_at=datetime(2025, 12, 31, tzinfo=UTC),
        source="import",
        matched_by="explicit",
        actor="key:crm",
        phone_number=NUMBER,
        evidence={"form": {"url": "https://example.com"}, "n": None},
    )


@pytest.mark.parametrize(
    "evidence",
    [
        {},
        {"Body": "STOP\0"},
        {"Body": "ＳＴＯＰ 🛑\r\n\t\"'\\/\x7f\N{LINE SEPARATOR}"},  # noqa: RUF001
        {"Body": "x" * 1600, "": "", "MediaUrl": ["a", "b"]},
        {"kind": {"deep": [1, -1.5, True, None, {"er": []}]}},
        {"timestamp": "not ours", "occurred_at": {"nor": "this"}},
        {"_data_": "alone"},
    ],
)
def test_evidence_comes_back_as_it_was_given(evidence: dict[str, object]) -> None:
    """Every character of it, NUL and pictures too."""
    given = entry(SUBJECT, evidence=evidence)
    at = AT.isoformat()
    _, event = decode(stored(joined(given, at, at)))
    assert event.evidence == evidence
    assert (event.recorded_at, event.occurred_at) == (AT, AT)


def test_an_event_read_back_is_one_of_ours() -> None:
    """It folds, and it cannot be edited."""
    at = AT.isoformat()
    _, event = decode(stored(joined(entry(SUBJECT), at, at)))
    assert event.mutate(None).version == 3
    with pytest.raises(AttributeError):
        event.status = "in"  # type: ignore[misc]


@pytest.mark.parametrize("topic", ["ledger.domain.events:Erased", "os:system", ""])
def test_an_event_of_an_unknown_kind_is_a_fault(topic: str) -> None:
    """It is never skipped, and what it names is never imported."""
    with pytest.raises(UnknownEvent, match="position 12"):
        decode(stored(b"{}", topic))


def test_an_event_of_a_later_version_is_a_fault() -> None:
    """This release cannot know what it means."""
    with pytest.raises(UnknownEvent, match=r"version 2 .* up to 1"):
        decode(stored(b'{"class_version":2}'))


def test_an_event_of_an_earlier_version_is_brought_up_to_date(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Step by step, by the class's own upcasters, as the library does it."""

    def upcast_v1_v2(state: dict[str, object]) -> None:
        state["actor"] = f"{state['actor']}!"

    def upcast_v2_v3(state: dict[str, object]) -> None:
        state["actor"] = f"{state['actor']}?"

    steps = {"upcast_v1_v2": upcast_v1_v2, "upcast_v2_v3": upcast_v2_v3}
    for name, step in steps.items():
        monkeypatch.setattr(ConsentChanged, name, staticmethod(step), raising=False)
    monkeypatch.setattr(ConsentChanged, "class_version", 3, raising=False)
    at = AT.isoformat()
    state = joined(entry(SUBJECT), at, at)
    second = orjson.dumps({**orjson.loads(state), "class_version": 2})
    third = orjson.dumps({**orjson.loads(state), "class_version": 3})
    actors = [decode(stored(each)).event.actor for each in (state, second, third)]
    assert actors == ["subject!?", "subject?", "subject"]
    assert "class_version" not in vars(decode(stored(third)).event)
