"""What is read of a text from its bytes, and what is copied of it, is what events give.

As ``test_said_properties`` says it of consents.
"""

from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import orjson
import pytest
from builders import DAY, signal_key, subject_key
from copied_rows import unpacked
from corpus.kept import kept
from hypothesis import example, given
from hypothesis import strategies as st
from message_steps import a_text

from ledger.domain.consent import Proposal, nobody
from ledger.domain.events import MessageReceived
from ledger.domain.ids import MessageId, PhoneNumber, Sealed, Sender, SubjectId, Version
from ledger.domain.messages import Text, decide_text, unwritten
from ledger.errors import EventBroken, UnknownEvent
from ledger.store.codec import (
    STATE_HEAD,
    STATE_MIDDLE,
    Sealing,
    StoredRow,
    decode,
    encode,
)
from ledger.store.received import Received, ReceivedReader, ReceivedWords
from projections.messages import Messages
from projections.projection import ReceivedText

PERSON: Final = SubjectId(UUID(int=0xABCDEF << 96 | 7))
MESSAGE: Final = MessageId(UUID(int=9))
NUMBER: Final = PhoneNumber("+14155550100")
START: Final = datetime(2026, 11, 21, tzinfo=UTC)
TOPIC: Final = "ledger.domain.events:MessageReceived"

times = st.datetimes(min_value=datetime(1, 1, 2), timezones=st.just(UTC))  # noqa: DTZ001
senders = st.sampled_from((None, "+14155550199", "MGé", 'a"b', "\\", ""))
texts = st.builds(
    a_text,
    sid=st.sampled_from(("SM1", "SMé")),
    sender=senders,
    address=senders,
    actor=st.sampled_from(("subject", "key:é")),
    source=st.sampled_from(("twilio.inbound", "twilio.import")),
)
versions = st.none() | st.integers(1, 3)
hours = st.sampled_from((0, 2))


def stored(
    text: Text,
    consent_version: int | None = None,
    recorded_at: datetime = START,
    hours: int = 0,
) -> StoredRow:
    """A text as it is stored, that occurred so long before it was recorded."""
    said = [consent(consent_version)] if consent_version else []
    proposal = decide_text(unwritten(MESSAGE), nobody(PERSON), text, said)
    sealing = Sealing(PERSON, subject_key(PERSON), is_new_key=False, day=DAY)
    [event] = encode(signal_key(text.key), [proposal], sealing).events
    moments = (recorded_at, recorded_at - timedelta(hours=hours))
    recorded, occurred = (
        m.isoformat(timespec="microseconds").encode() for m in moments
    )
    state = STATE_HEAD + recorded + STATE_MIDDLE + occurred + event.tail
    return StoredRow(MESSAGE, 1, TOPIC, state, 5)


def consent(version: int) -> Proposal:
    """What a text says of consent, and which event that is."""
    to_whom = (Sender("MG1"), None, "twilio.inbound", "keyword", "subject")
    said = (PERSON, Version(version), "out", "unknown", *to_whom)
    return Proposal(*said, NUMBER, {"Body": "STOP"})  # type: ignore[arg-type]


def read(row: StoredRow) -> Received | None:
    """What a row says, if it can be read from its bytes."""
    return ReceivedReader().read(row)


def as_decoded(row: StoredRow) -> Received:
    """The same, of the event."""
    position, event = decode(row)
    assert isinstance(event, MessageReceived)
    to_whom = (event.sender, event.address, event.source, event.actor)
    words = ReceivedWords(*to_whom, event.consent_version)
    number, sid = event.phone_number, event.sid
    assert isinstance(number, Sealed)
    assert isinstance(sid, Sealed)
    moments = (event.occurred_at, event.recorded_at)
    of_whom = (event.counterparty, words)
    return position, *moments, *of_whom, number.encode(), sid.encode()


@given(text=texts, consent_version=versions, recorded_at=times, hours=hours)
def test_a_stored_text_is_read_as_it_is_decoded(
    text: Text, consent_version: int | None, recorded_at: datetime, hours: int
) -> None:
    """Every field; the usual ones are read, and those that are not plain ASCII left."""
    row = stored(text, consent_version, recorded_at, hours)
    is_plain = row.state.isascii() and b"\\" not in row.state
    assert read(row) == (as_decoded(row) if is_plain else None)


USUAL: Final = stored(a_text(), 1)
WITH_EVIDENCE: Final = stored(a_text())
PERSONAL: Final = USUAL.state.index(b'"phone_number":"')
COUNTERPARTY: Final = USUAL.state.index(PERSON.hex.encode())


@example(row=USUAL, at=COUNTERPARTY, byte=ord("A"), cut=0)
@example(row=USUAL, at=COUNTERPARTY, byte=ord(" "), cut=0)
@example(row=USUAL, at=COUNTERPARTY + 1, byte=ord("_"), cut=0)
@example(row=USUAL, at=PERSONAL - 2, byte=ord("."), cut=0)
@given(
    row=st.sampled_from((USUAL, WITH_EVIDENCE)),
    at=st.integers(0, 500),
    byte=st.integers(0, 255),
    cut=st.integers(0, 20),
)
def test_what_was_altered_is_read_as_it_is_decoded(
    row: StoredRow, at: int, byte: int, cut: int
) -> None:
    """Or not read; but what is sealed, nobody reads here but who opens it."""
    state = bytearray(row.state[: len(row.state) - cut])
    if at < row.state.index(b'"phone_number":"'):
        state[at] = byte
    altered = row._replace(state=bytes(state))
    if (found := read(altered)) is not None:
        assert found == as_decoded(altered)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sender", 7),
        ("address", ["x"]),
        ("actor", None),
        ("consent_version", True),
        ("consent_version", "1"),
        ("consent_version", 1.5),
        ("phone_number", None),
        ("sid", None),
    ],
)
def test_what_has_another_type_is_left_to_who_decodes(name: str, value: object) -> None:
    """A number that was not kept, too: it was erased before it was recorded."""
    state = orjson.loads(USUAL.state)
    state[name] = value
    assert read(USUAL._replace(state=orjson.dumps(state))) is None


@pytest.mark.parametrize("field", [*orjson.loads(USUAL.state)])
def test_what_lacks_a_field_is_not_read(field: str) -> None:
    """Nor decoded; and so with what has one more."""
    state = orjson.loads(USUAL.state)
    value = state.pop(field)
    for other in (state, state | {field: value, "more": "x"}):
        row = USUAL._replace(state=orjson.dumps(other))
        assert read(row) is None
        with pytest.raises(EventBroken):
            decode(row)


@pytest.mark.parametrize("field", ["phone_number", "sid", "evidence"])
def test_a_field_between_the_sealed_ones_is_not_read(field: str) -> None:
    """Nor decoded: it is not taken for a part of what is sealed."""
    state = WITH_EVIDENCE.state.replace(
        b'"%b":"' % field.encode(), b'"%b":"x","more":"' % field.encode()
    )
    row = WITH_EVIDENCE._replace(state=state)
    assert read(row) is None
    with pytest.raises(EventBroken):
        decode(row)


@pytest.mark.parametrize(
    ("was", "becomes"),
    [(b'"sid"', b'"six"'), (b"null}", b"null}x"), (b"null}", b'null,"x":1}')],
)
def test_what_is_not_whole_behind_the_number_is_not_read(
    was: bytes, becomes: bytes
) -> None:
    """Nor decoded."""
    row = USUAL._replace(state=USUAL.state.replace(was, becomes))
    assert read(row) is None
    with pytest.raises(EventBroken):
        decode(row)


def test_only_what_begins_is_read() -> None:
    """And only of this kind: nothing else can be told without what was before it."""
    assert read(USUAL) == as_decoded(USUAL)
    assert read(USUAL._replace(originator_version=2)) is None
    other = USUAL._replace(topic=TOPIC + "Later")
    assert read(other) is None
    with pytest.raises(UnknownEvent):
        decode(other)


def test_the_corpus_is_read_as_it_is_decoded() -> None:
    """Or not at all."""
    reader = ReceivedReader()
    found = [(event.row, one) for event in kept() if (one := reader.read(event.row))]
    assert all(one == as_decoded(row) for row, one in found)


def test_few_words_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are; and they are right still."""
    monkeypatch.setattr("ledger.store.received.WORDS_MAX", 2)
    monkeypatch.setattr("projections.messages.projection.WORDS_MAX", 2)
    reader, messages = ReceivedReader(), Messages()
    for n in [*range(5), *range(5)]:
        row = stored(a_text(sender=Sender(f"MG{n}")))
        received = reader.read(row)
        assert received == as_decoded(row)
        assert received is not None
        text = ReceivedText(MESSAGE, subject_key(PERSON), received, row)
        copied = messages.copied([], [text])
        assert copied
        assert f"MG{n}".encode() in copied[0]


@given(text=texts, consent_version=versions, hours=hours)
def test_what_is_copied_is_what_rows_are(
    text: Text, consent_version: int | None, hours: int
) -> None:
    """Both ways to a text's row agree, and what is sealed is opened for either."""
    row = stored(text, consent_version, START, hours)
    if (received := read(row)) is None:
        return
    one = ReceivedText(MESSAGE, subject_key(PERSON), received, row)
    messages = Messages()
    copied = messages.copied([], [one])
    assert copied is not None
    made = messages.rows_of(one.person)
    for table, ours, theirs in zip(messages.tables, copied, made, strict=True):
        assert unpacked(ours, table.columns) == list(theirs)
