"""What is read from bytes, and what is folded from that, is what events give."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import orjson
import pytest
from builders import entry_of
from copied_rows import unpacked
from corpus.kept import kept
from hypothesis import example, given
from hypothesis import strategies as st

from ledger.domain.consent import Proposal
from ledger.domain.events import ConsentChanged
from ledger.domain.ids import PhoneNumber, Sealed, Sender, SubjectId, Version
from ledger.errors import EventBroken
from ledger.store.codec import STATE_HEAD, STATE_MIDDLE, StoredRow, decode
from ledger.store.said import Said, SaidReader
from projections.consent_history import ConsentHistory
from projections.phone_numbers import PhoneNumbers
from projections.projection import Heard

SUBJECT: Final = SubjectId(UUID(int=7))
NUMBER: Final = PhoneNumber("+14155550100")
START: Final = datetime(2026, 11, 21, tzinfo=UTC)
TOPIC: Final = "ledger.domain.events:ConsentChanged"
SEPARATOR: Final = len(STATE_HEAD) + len("2026-11-21")
ZONE: Final = len(STATE_HEAD) + len("2026-11-21T00:00:00.000000")

times = st.datetimes(min_value=datetime(1, 1, 2), timezones=st.just(UTC))  # noqa: DTZ001
senders = st.sampled_from(("*", "+14155550199", "MGé", 'a"b', "\\")).map(Sender)
contents = st.tuples(st.sampled_from(("in", "out")), senders, st.integers(0, 3))
plain = st.sampled_from(("*", "+14155550199", "MGb")).map(Sender)
streams = st.lists(
    st.tuples(st.sampled_from(("in", "out")), plain, st.sampled_from((0, 2, 50))),
    min_size=1,
    max_size=6,
)


def stored(
    content: tuple[Any, Sender, int], version: int = 1, recorded_at: datetime = START
) -> StoredRow:
    """A consent as it is stored, that occurred so many hours before it was recorded."""
    status, sender, hours = content
    occurred_at = recorded_at - timedelta(hours=hours)
    proposal = Proposal(
        SUBJECT,
        Version(version),
        status,
        "unknown",
        sender,
        occurred_at,
        "api",
        "explicit",
        "key:é" if hours == 1 else "key:a",
        NUMBER,
        {"Body": "STOP"},
    )
    [event] = entry_of(proposal, "").events
    tail = event.tail
    moments = (recorded_at, occurred_at)
    recorded, occurred = (
        m.isoformat(timespec="microseconds").encode() for m in moments
    )
    state = STATE_HEAD + recorded + STATE_MIDDLE + occurred + tail
    return StoredRow(SUBJECT, version, TOPIC, state, 100 * version)


def read(row: StoredRow) -> Said | None:
    """What a row says, if it can be read from its bytes."""
    return SaidReader().read(row)


def as_decoded(row: StoredRow) -> Said:
    """The same, of the event."""
    position, event = decode(row)
    assert isinstance(event, ConsentChanged)
    said = (event.status, event.previous_status, event.sender)
    words: Any = (*said, event.source, event.matched_by, event.actor)
    sealed = event.phone_number
    assert isinstance(sealed, Sealed)
    moments = (event.occurred_at, event.recorded_at)
    return position, event.version, *moments, words, sealed.encode()


@given(content=contents, recorded_at=times, version=st.integers(1, 2**63 - 1))
def test_a_stored_consent_is_read_as_it_is_decoded(
    content: tuple[Any, Sender, int], recorded_at: datetime, version: int
) -> None:
    """Every field; the usual ones are read, and those that are not plain ASCII left."""
    row = stored(content, version, recorded_at)
    is_plain = row.state.isascii() and b"\\" not in row.state
    assert read(row) == (as_decoded(row) if is_plain else None)


@example(at=0, byte=0, cut=0)
@example(at=SEPARATOR, byte=0, cut=0)
@example(at=ZONE, byte=0, cut=0)
@given(at=st.integers(0, 400), byte=st.integers(0, 255), cut=st.integers(0, 20))
def test_what_was_altered_is_read_as_it_is_decoded(
    at: int, byte: int, cut: int
) -> None:
    """Or not read; but what is sealed, nobody reads here but who opens it."""
    row = stored(("in", Sender("*"), 0))
    state = bytearray(row.state[: len(row.state) - cut])
    if at < state.find(b'"phone_number":"'):
        state[at] = byte
    altered = row._replace(state=bytes(state))
    if (found := read(altered)) is not None:
        assert found == as_decoded(altered)


@pytest.mark.parametrize("field", [*orjson.loads(stored(("in", Sender("*"), 0)).state)])
def test_what_lacks_a_field_is_not_read(field: str) -> None:
    """Nor decoded."""
    row = stored(("in", Sender("*"), 0))
    state = orjson.loads(row.state)
    del state[field]
    lacking = row._replace(state=orjson.dumps(state))
    assert read(lacking) is None
    with pytest.raises(EventBroken):
        decode(lacking)


@pytest.mark.parametrize("field", ["phone_number", "evidence"])
def test_a_field_between_the_sealed_ones_is_not_read(field: str) -> None:
    """Nor decoded: it is not taken for a part of what is sealed."""
    row = stored(("in", Sender("*"), 0))
    name = b'"%b":"' % field.encode()
    row = row._replace(state=row.state.replace(name, name + b'x","more":"'))
    assert read(row) is None
    with pytest.raises(EventBroken):
        decode(row)


def test_the_corpus_is_read_as_it_is_decoded() -> None:
    """Consents alone, and most of them."""
    reader = SaidReader()
    found = [(event.row, said) for event in kept() if (said := reader.read(event.row))]
    assert len(found) > 1
    assert all(said == as_decoded(row) for row, said in found)


def test_few_words_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are; and they are right still."""
    monkeypatch.setattr("ledger.store.said.WORDS_MAX", 2)
    reader, history = SaidReader(), ConsentHistory()
    monkeypatch.setattr("projections.consent_history.projection.WORDS_MAX", 2)
    for n in [*range(5), *range(5)]:
        row = stored(("in", Sender(f"MG{n}"), 0))
        said = reader.read(row)
        assert said == as_decoded(row)
        assert said is not None
        copied = history.copied([Heard(SUBJECT, NUMBER, [said], [row])], [])
        assert copied
        assert f"MG{n}".encode() in copied[0]


@given(stream=streams)
def test_what_is_copied_is_what_rows_are(
    stream: Sequence[tuple[Any, Sender, int]],
) -> None:
    """Both folds of both projections agree, whatever was said to whom, and when."""
    rows = [
        stored(content, version, START + timedelta(hours=version))
        for version, content in enumerate(stream, 1)
    ]
    said = [one for row in rows if (one := read(row))]
    assert len(said) == len(rows)
    heard = Heard(SUBJECT, NUMBER, said, rows)
    for projection in (PhoneNumbers(), ConsentHistory()):
        copied = projection.copied([heard], [])
        assert copied is not None
        made = projection.rows_of(heard.person)
        for table, ours, theirs in zip(projection.tables, copied, made, strict=True):
            assert unpacked(ours, table.columns) == list(theirs)
