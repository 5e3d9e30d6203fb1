"""Laws of the stored form: nothing is lost, and it is the library's own form.

What is personal is sealed in it, so an event is compared with it as who has the key
does: sealed where it is stored, open where it is asked what was said.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from builders import DAY, entry, signal_key, subject_key
from eventsourcing.application import Application
from eventsourcing.persistence import StoredEvent
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ledger.domain.events import ConsentChanged
from ledger.domain.ids import PhoneNumber, Sealed, Sender, SubjectId
from ledger.store.codec import (
    STATE_HEAD,
    STATE_MIDDLE,
    Sealing,
    StoredRow,
    decode,
    encode,
)
from ledger.store.database import Pool
from ledger.store.event_store import Appended
from ledger.store.postgres import PostgresEventStore
from ledger.store.sealing import open_evidence

SUBJECT = SubjectId(UUID(int=7))
STORED = (
    "SELECT originator_id, originator_version, topic, state, notification_id "
    "FROM ledger_events WHERE notification_id = $1"
)


class Ledger(Application[UUID]):
    """The library's own application, with its default transcodings."""


MAPPER = Ledger().mapper

# Names with a leading underscore are the stored form's own; the API refuses them.
names = st.text(max_size=8).filter(lambda name: not name.startswith("_"))
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner),
    max_leaves=8,
)
evidences = st.dictionaries(names, json_values, max_size=4)
times = st.datetimes(timezones=st.just(UTC))
# As PostgreSQL keeps them: text without NUL.
texts = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=20)

contents = st.fixed_dictionaries(
    {
        "status": st.sampled_from(("in", "out")),
        "sender": texts.map(Sender),
        "source": st.sampled_from(("twilio.inbound", "twilio.status", "api", "import")),
        "matched_by": st.sampled_from(("keyword", "freeText", "explicit")),
        "actor": st.text(max_size=20),
        "phone_number": st.text(max_size=20).map(PhoneNumber),
        "evidence": evidences,
    }
)
events = st.builds(
    lambda content, version, timestamp, occurred_at, previous: ConsentChanged(
        originator_id=SUBJECT,
        originator_version=version,
        timestamp=timestamp,
        occurred_at=occurred_at,
        previous_status=previous,
        **content,
    ),
    contents,
    st.integers(1, 2**63 - 1),
    times,
    times,
    st.sampled_from(("in", "out", "unknown")),
)
HARD: dict[str, Any] = {
    "Body": "STOP\0\ud7ff\U0010ffff\u2028",
    "n": 2**64 - 1,
    "": -0.0,
}


def state_of(event: ConsentChanged) -> bytes:
    """What would be stored, joined as the append's statement joins it."""
    proposal: Any = event
    times = (event.recorded_at.isoformat(), event.occurred_at.isoformat())
    recorded_at, occurred_at = (time.encode() for time in times)
    sealing = Sealing(SUBJECT, subject_key(SUBJECT), is_new_key=False, day=DAY)
    [encoded] = encode(signal_key(""), [proposal], sealing).events
    tail = encoded.tail
    return STATE_HEAD + recorded_at + STATE_MIDDLE + occurred_at + tail


def row_of(event: ConsentChanged, state: bytes) -> StoredRow:
    """A row of the events table."""
    topic = "ledger.domain.events:ConsentChanged"
    return StoredRow(SUBJECT, event.version, topic, state, 1)


def as_stock(row: StoredRow) -> object:
    """The event in a row, as the library reads it."""
    return MAPPER.to_domain_event(StoredEvent(*row[:4]))


def read(row: StoredRow) -> ConsentChanged:
    """The event in a row, as we read it."""
    event = decode(row).event
    assert isinstance(event, ConsentChanged)
    return event


def opened(event: ConsentChanged) -> ConsentChanged:
    """The event as who has its subject's key and the day's reads it."""
    number, sealed = event.phone_number, event.evidence
    assert isinstance(number, Sealed)
    assert isinstance(sealed, Sealed)
    key, where = subject_key(event.subject_id), (event.subject_id, event.version)
    evidence = open_evidence(sealed, key.evidence_secret(DAY), *where)
    return replace(
        event, phone_number=key.open_number(number, *where), evidence=evidence
    )


@given(events)
def test_an_event_comes_back_as_it_was_stored(event: ConsentChanged) -> None:
    """Whatever text and evidence it holds."""
    assert opened(read(row_of(event, state_of(event)))) == event


@given(events)
def test_the_library_reads_what_we_store(event: ConsentChanged) -> None:
    """With its default transcodings, nothing of ours but the class, and no key."""
    row = row_of(event, state_of(event))
    stock = as_stock(row)
    assert stock == read(row)
    assert type(stock) is ConsentChanged
    assert isinstance(stock.phone_number, str)
    assert isinstance(stock.evidence, str)


@given(events)
def test_we_read_what_the_library_stores(event: ConsentChanged) -> None:
    """So a ledger that the library wrote could be taken over."""
    sealed = read(row_of(event, state_of(event)))
    stored = MAPPER.to_stored_event(sealed)
    assert stored.topic == "ledger.domain.events:ConsentChanged"
    assert decode(row_of(event, stored.state)).event == sealed


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(contents, times)
@example({"status": "out", "evidence": HARD}, datetime(1, 1, 1, 0, 0, 0, 1, tzinfo=UTC))
@example({"status": "in", "evidence": {}}, datetime(999, 12, 31, tzinfo=UTC))
async def test_what_postgres_joins_is_read_by_us_and_by_the_library(
    store: PostgresEventStore,
    pool: Pool,
    content: Mapping[str, Any],
    occurred_at: datetime,
) -> None:
    """Both times are the database's own, of any year, to the microsecond."""
    occurred_at = min(occurred_at, datetime(2026, 1, 1, tzinfo=UTC))
    occurred_at = max(occurred_at, datetime(1, 1, 1, 0, 0, 0, 1, tzinfo=UTC))
    subject = SubjectId(uuid4())
    given_entry = entry(subject, occurred_at=occurred_at, **content)
    [outcome] = await store.append([given_entry])
    assert isinstance(outcome, Appended)
    row = await pool.fetchrow(STORED, outcome.position)
    assert row is not None
    stored = StoredRow(*row)
    event = read(stored)
    assert (stored.notification_id, as_stock(stored)) == (outcome.position, event)
    assert (event.occurred_at, event.recorded_at) == (occurred_at, outcome.recorded_at)
    assert event.subject_id == subject
    for name, value in content.items():
        assert getattr(opened(event), name) == value
