"""The stored form, to the byte, and what another release left behind.

That it is the library's own form is a property: ``test_codec_properties``.
"""

from datetime import UTC, datetime
from uuid import UUID

import orjson
import pytest
from builders import DAY, NUMBER, SENDER, entry, signal_key, subject_key
from eventsourcing.application import Application
from eventsourcing.persistence import StoredEvent
from eventsourcing.utils import get_topic

from ledger.domain.consent import Subject
from ledger.domain.events import (
    ConsentChanged,
    ConsentChecked,
    EvidenceErased,
    HoldPlaced,
    HoldReleased,
    LedgerEvent,
    SubjectErased,
)
from ledger.domain.ids import Sealed, SubjectId, Version
from ledger.domain.signals import Evidence
from ledger.errors import EventBroken, UnknownEvent
from ledger.store.codec import (
    STATE_HEAD,
    STATE_MIDDLE,
    Encoded,
    Entry,
    StoredRow,
    decode,
    encode_open,
)
from ledger.store.sealing import open_evidence

SUBJECT = SubjectId(UUID(int=7))
TOPIC = "ledger.domain.events:ConsentChanged"
AT = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)


class Ledger(Application[UUID]):
    """The library's own application, with its default transcodings."""


MAPPER = Ledger().mapper


def joined(given: Entry, recorded_at: str, occurred_at: str) -> bytes:
    """A state, as the append's statement joins it."""
    head, middle = STATE_HEAD, STATE_MIDDLE
    return head + recorded_at.encode() + middle + occurred_at.encode() + tail_of(given)


def tail_of(given: Entry) -> bytes:
    """What is stored of an entry's one event, but for its times."""
    [event] = given.events
    return event.tail


def stored(state: bytes, topic: str = TOPIC, version: int = 3) -> StoredRow:
    """A row of the events table."""
    return StoredRow(SUBJECT, version, topic, state, 12)


def read(row: StoredRow) -> ConsentChanged:
    """The consent in a row."""
    event = decode(row).event
    assert isinstance(event, ConsentChanged)
    return event


def opened(event: ConsentChanged) -> tuple[str, Evidence]:
    """Number and evidence, as who has the subject's key reads them."""
    number, sealed = event.phone_number, event.evidence
    assert isinstance(number, Sealed)
    assert isinstance(sealed, Sealed)
    key, where = subject_key(SUBJECT), (event.subject_id, event.version)
    evidence = open_evidence(sealed, key.evidence_secret(DAY), *where)
    return key.open_number(number, *where), evidence


def test_an_entry_is_the_proposal_without_its_times() -> None:
    """The stored form is released: these bytes are in people's ledgers."""
    given = entry(SUBJECT, key="api:1", evidence={"Body": "Stop ✋"}, occurred_at=AT)
    state = orjson.loads(joined(given, "", ""))
    assert given == Entry(
        key=signal_key("api:1"),
        events=(
            Encoded(
                stream_id=SUBJECT,
                version=Version(1),
                topic=TOPIC,
                occurred_at=AT,
                tail=(
                    '"},"status":"out","previous_status":"unknown",'
                    '"sender":"+14155550199","source":"twilio.inbound",'
                    '"matched_by":"keyword","actor":"subject",'
                    f'"phone_number":"{state["phone_number"]}",'
                    f'"evidence":"{state["evidence"]}"'
                    "}"
                ).encode(),
            ),
        ),
        subject_id=SUBJECT,
        data_key=given.data_key,
        is_new_key=True,
        day=None,
    )


def test_nothing_personal_is_in_what_is_stored() -> None:
    """Neither the number nor a word of the text, nor what is always the same."""
    tails = {tail_of(entry(SUBJECT, evidence={"Body": "marked"})) for _ in range(20)}
    assert len(tails) == 20
    for tail in tails:
        assert NUMBER[1:].encode() not in tail
        assert b"marked" not in tail


def test_what_an_event_is_sealed_with_goes_with_it() -> None:
    """So that the store can refuse a key that is not, or no more, the subject's."""
    first, second = (entry(Subject(SUBJECT, Version(n), {})) for n in range(2))
    assert first.data_key == second.data_key == subject_key(SUBJECT).wrapped


def test_a_row_of_the_first_release_is_read() -> None:
    """Written down here, so that no later release forgets it."""
    state = (
        b'{"timestamp":{"_type_":"datetime_iso",'
        b'"_data_":"2026-01-02T03:04:05.000678+00:00"},'
        b'"occurred_at":{"_type_":"datetime_iso",'
        b'"_data_":"2025-12-31T00:00:00.000000+00:00"},'
        b'"status":"in","previous_status":"out","sender":"*","source":"import",'
        b'"matched_by":"explicit","actor":"key:crm","phone_number":"'
        b"52YXJRw/OQzSd7O+KfDelTA80KUT3K0QgjzsOrzRKcl7B/ue2jXyOA=="
        b'",'
        b'"evidence":"'
        b"2026-01-01.OAzPhMzm8z5s6tP6MdV++exuqNqpZRgVbzJbQCMI9sF3ksw+87hYx3SHfqo"
        b"/FNVnpw2/R+kpMv7TeAZ0eXCjedjo7zh2YcCYbcmK"
        b'"}'
    )
    position, event = decode(stored(state))
    assert position == 12
    assert isinstance(event, ConsentChanged)
    assert opened(event) == (
        NUMBER,
        {"form": {"url": "https://example.com"}, "n": None},
    )
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
        phone_number=event.phone_number,
        evidence=event.evidence,
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
    event = read(stored(joined(given, at, at), version=1))
    assert opened(event) == (NUMBER, evidence)
    assert (event.recorded_at, event.occurred_at) == (AT, AT)


def test_an_event_read_back_is_one_of_ours() -> None:
    """It folds, and it cannot be edited."""
    at = AT.isoformat()
    event = read(stored(joined(entry(SUBJECT), at, at)))
    assert event.mutate(None).version == 3
    with pytest.raises(AttributeError):
        event.status = "in"  # type: ignore[misc]


CHECKED: dict[str, object] = {
    "sender": "MG1",
    "as_of": AT,
    "known_at": AT,
    "region": None,
    "read_position": 7,
    "numbers": 2,
    "request_digest": "0" * 64,
    "answer_digest": "1" * 64,
    "actor": "key:campaigns",
}
OTHERS: list[tuple[type[LedgerEvent], dict[str, object]]] = [
    (
        SubjectErased,
        {"status": "out", "key_id": "0" * 12, "reason": "asked ✋", "actor": "key:dpo"},
    ),
    (HoldPlaced, {"until": AT, "reason": "a suit", "actor": "cli"}),
    (HoldReleased, {"reason": "settled", "actor": "cli"}),
    (EvidenceErased, {"before": AT, "days": 7, "held": 1, "actor": "cli"}),
    (ConsentChecked, CHECKED),
    (ConsentChecked, CHECKED | {"as_of": None, "known_at": None, "sender": None}),
]


@pytest.mark.parametrize(("kind", "fields"), OTHERS)
def test_an_event_without_anything_personal_comes_back_as_it_was(
    kind: type[LedgerEvent], fields: dict[str, object]
) -> None:
    """Its times are times again."""
    at = AT.isoformat().encode()
    state = (
        STATE_HEAD
        + at
        + STATE_MIDDLE
        + at
        + tail_of(encode_open(kind, SUBJECT, Version(3), fields))
    )
    assert decode(stored(state, get_topic(kind))).event == kind(
        originator_id=SUBJECT,
        originator_version=3,
        timestamp=AT,
        occurred_at=AT,
        **fields,
    )


def test_what_has_no_stored_form_is_not_stored() -> None:
    """Rather than as something that is not read back."""
    with pytest.raises(TypeError, match="not JSON serializable"):
        encode_open(HoldPlaced, SUBJECT, Version(1), {"number": object()})


@pytest.mark.parametrize("topic", ["ledger.domain.events:Erased", "os:system", ""])
def test_an_event_of_an_unknown_kind_is_a_fault(topic: str) -> None:
    """It is never skipped, and what it names is never imported."""
    with pytest.raises(UnknownEvent, match=f"position 12 holds version 1 of '{topic}'"):
        decode(stored(b"{}", topic))


def test_an_unknown_kind_says_its_version() -> None:
    """As far as it can be read: it is what its release is found by."""
    for state, version in ((b'{"class_version":3}', 3), (b"[", 1), (b"[]", 1)):
        with pytest.raises(UnknownEvent) as refused:
            decode(stored(state, "ledger.domain.events:Unheard"))
        assert refused.value.class_version == version


def test_an_event_of_a_later_version_is_a_fault() -> None:
    """This release cannot know what it means."""
    with pytest.raises(UnknownEvent, match=r"position 12 .* version 2"):
        decode(stored(b'{"class_version":2}'))


def test_an_event_of_an_earlier_version_is_brought_up_to_date(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Step by step, by the class's own upcasters, as the library does it."""
    at = AT.isoformat()
    state = joined(entry(SUBJECT), at, at)

    def upcast_v1_v2(state: dict[str, object]) -> None:
        state["actor"] = f"{state['actor']}!"

    def upcast_v2_v3(state: dict[str, object]) -> None:
        state["actor"] = f"{state['actor']}?"

    steps = {"upcast_v1_v2": upcast_v1_v2, "upcast_v2_v3": upcast_v2_v3}
    for name, step in steps.items():
        monkeypatch.setattr(ConsentChanged, name, staticmethod(step), raising=False)
    monkeypatch.setattr(ConsentChanged, "class_version", 3, raising=False)
    second = orjson.dumps({**orjson.loads(state), "class_version": 2})
    third = orjson.dumps({**orjson.loads(state), "class_version": 3})
    rows = [stored(each) for each in (state, second, third)]
    assert [read(row).actor for row in rows] == ["subject!?", "subject?", "subject"]
    for row in rows:
        assert MAPPER.to_domain_event(StoredEvent(*row[:4])) == read(row)
    assert "class_version" not in vars(decode(stored(third)).event)


@pytest.mark.parametrize("version", [0, -1, "2", None, 1.5])
def test_a_version_that_is_none_is_a_fault(version: object) -> None:
    """It is not taken for the first."""
    state = orjson.dumps({"class_version": version})
    with pytest.raises(EventBroken, match="position 12 has a class_version"):
        decode(stored(state))


def test_what_an_upcaster_misses_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the position: the event was altered, or never whole."""

    def upcast_v1_v2(state: dict[str, object]) -> None:
        state["actor"] = state["who"]

    monkeypatch.setattr(ConsentChanged, "class_version", 2, raising=False)
    step = staticmethod(upcast_v1_v2)
    monkeypatch.setattr(ConsentChanged, "upcast_v1_v2", step, raising=False)
    with pytest.raises(EventBroken, match="position 12 lacks 'who' of version 1"):
        decode(stored(b"{}"))


def test_the_version_of_a_class_is_stored_from_the_second_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As the library stores it, so that who reads it knows where to begin."""
    at = AT.isoformat()

    def states() -> list[dict[str, object]]:
        hold = encode_open(
            HoldReleased, SUBJECT, Version(3), {"reason": "", "actor": ""}
        )
        return [orjson.loads(joined(each, at, at)) for each in (entry(SUBJECT), hold)]

    assert ["class_version" in state for state in states()] == [False, False]
    for kind in (ConsentChanged, HoldReleased):
        monkeypatch.setattr(kind, "class_version", 2, raising=False)
    assert [state["class_version"] for state in states()] == [2, 2]
