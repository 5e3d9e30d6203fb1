"""Holds what is stored against what the events say, one slice of subjects at a time.

Pure: takes what one snapshot of the database has of a slice, and names what does not
fit. Never shows a phone number. The subtle part is erasure: an erased subject has no
rows, but for one whose erasure the projection has not come to; what is there of that
one goes when it does, and is neither right nor wrong.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, cast
from uuid import UUID

from ledger.domain.events import ConsentChanged, MessageEvent, SubjectErased
from ledger.domain.ids import Position, Sealed, SubjectId
from ledger.errors import SealBroken
from ledger.store.codec import RecordedEvent, StoredRow, decode
from ledger.store.sealing import SubjectKey
from projections.projection import Person, Projection, Row, Table

EVENTS: Final = "ledger_events"
KEYS: Final = "subject_keys"
CHECKPOINTS: Final = "projections"
ERASED: Final = Table("erased_subjects", ("subject_id", "status", "position"), 1, "")
_HIDDEN: Final = frozenset({"phone_number", "sid"})

Kind = Literal[
    "lost",  # no row, where the events make one; an event that was not applied
    "extra",  # a row that no events make
    "erased",  # a row of somebody who was erased
    "altered",  # a row that is not as the events make it; events, since applied
    "doubled",  # an event that was applied twice
    "moved",  # a checkpoint that is not where what was applied ends
    "missing",  # an event that its stream, or the ledger, leaves out
    "disordered",  # an event whose position or time is before the one before it
    "beyond",  # after the position that the ledger has reached
    "unreadable",  # an event or a key that cannot be decoded, folded or opened
    "unequal",  # what the events add up to and what is kept of them are not the same
]


class Difference(NamedTuple):
    """Something that is stored and is not as the events say."""

    table: str
    kind: Kind
    subject_id: UUID | None = None
    where: Mapping[str, object] = {}
    """Which row or event of the subject's."""
    stored: Mapping[str, object] | None = None
    """What is there, as far as it differs."""
    expected: Mapping[str, object] | None = None
    """What the events say instead."""


@dataclass(slots=True)
class Streams:
    """The streams of a slice of subjects, and what is wrong with them."""

    people: dict[SubjectId, list[RecordedEvent]] = field(default_factory=dict)
    erased: dict[SubjectId, tuple[Position, str]] = field(default_factory=dict)
    """Where each was erased, and what stays of it."""
    gone: Mapping[UUID, Position] = field(default_factory=dict)
    """Where people were erased whom texts here are to or from, wherever they are."""
    unreadable: set[SubjectId] = field(default_factory=set)
    """Of whom some event says nothing to us: what it makes is not known."""
    differences: list[Difference] = field(default_factory=list)

    @property
    def subject_ids(self) -> set[UUID]:
        """Whose the streams are, and who is at the other end of the texts."""
        events = (stream[0].event for stream in self.people.values() if stream)
        return {*self.people, *(event.subject_id for event in events)}

    def erased_at(self, stream_id: SubjectId) -> Position | None:
        """Where the person was erased whose stream, or text, this is."""
        if found := self.erased.get(stream_id):
            return found[0]
        stream = self.people.get(stream_id)
        if stream and isinstance(stream[0].event, MessageEvent):
            return self.gone.get(stream[0].event.counterparty)
        return None


def streams_of(rows: Iterable[StoredRow], last: Position) -> Streams:
    """The events of a slice, subject by subject, in a ledger that is at ``last``."""
    streams = Streams()
    subject: SubjectId | None = None
    version = 0
    for row in rows:
        subject_id, own_version, _, _, position = row
        if subject_id != subject:
            subject, version = SubjectId(subject_id), 0
            stream = streams.people[subject] = []
        if own_version != version + 1 or position > last:
            streams.differences += _misplaced(row, version, last)
        version = own_version
        try:
            recorded = decode(row)
            if stream and _is_before(recorded, stream[-1]):
                where = {"position": position}
                found = Difference(EVENTS, "disordered", subject_id, where)
                streams.differences.append(found)
            if isinstance(recorded.event, SubjectErased):
                streams.erased[subject] = (recorded.position, recorded.event.status)
        # Whatever it is that was altered, it is named, and the rest is looked at.
        except Exception as error:  # noqa: BLE001
            streams.differences.append(unreadable(subject, position, error))
            streams.unreadable.add(subject)
        else:
            stream.append(recorded)
    return streams


def _is_before(later: RecordedEvent, earlier: RecordedEvent) -> bool:
    return (
        later.position < earlier.position
        or later.event.recorded_at < earlier.event.recorded_at
    )


def _misplaced(row: StoredRow, before: int, last: Position) -> Iterator[Difference]:
    """What is wrong with the place of an event."""
    subject_id, version, _, _, position = row
    if version != before + 1:
        where = {"version": before + 1, "before": version}
        yield Difference(EVENTS, "missing", subject_id, where)
    if position > last:
        yield Difference(EVENTS, "beyond", subject_id, {"position": position})


def unreadable(subject_id: UUID, position: int, error: Exception) -> Difference:
    """An event that cannot be decoded, folded or opened."""
    # Not what the error says: it may quote the event.
    where = {"position": position, "error": type(error).__name__}
    return Difference(EVENTS, "unreadable", subject_id, where)


def opened_people(
    streams: Streams, keys: Mapping[SubjectId, SubjectKey | None]
) -> tuple[dict[SubjectId, Person | None], list[Difference]]:
    """Everybody who has said something and every text; None where it does not open.

    And of whom it should have, though there is the key. Who was erased is left out.
    """
    people: dict[SubjectId, Person | None] = {}
    unopened: list[Difference] = []
    for stream_id, stream in streams.people.items():
        if not stream or streams.erased_at(stream_id) is not None:
            continue
        said = (e for e in stream if isinstance(e.event, ConsentChanged | MessageEvent))
        position, event = next(said, stream[0])
        key = keys.get(event.subject_id)
        number, people[stream_id] = None, None
        try:
            if isinstance(event, ConsentChanged) and key is not None:
                sealed = Sealed(event.phone_number)
                number = key.open_number(sealed, event.subject_id, event.version)
            if number or key or not isinstance(event, ConsentChanged | MessageEvent):
                people[stream_id] = Person(stream_id, number, stream, key)
        except SealBroken as error:
            unopened.append(unreadable(stream_id, position, error))
    return people, unopened


def compare_keys(
    streams: Streams, keys: Mapping[SubjectId, SubjectKey | None], erased: Sequence[Row]
) -> Iterator[Difference]:
    """Who was erased has no key and is known to have been; everybody else has one."""
    for subject_id in streams.erased.keys() & keys.keys():
        yield Difference(KEYS, "erased", subject_id)
    for subject_id, key in keys.items():
        if key is None:
            yield Difference(KEYS, "unreadable", subject_id)
    lost: set[SubjectId] = set()
    for stream_id, stream in streams.people.items():
        if streams.erased_at(stream_id) is not None:
            continue
        sealed = (e for _, e in stream if isinstance(e, ConsentChanged | MessageEvent))
        lost |= {event.subject_id for event in sealed if event.subject_id not in keys}
    for subject_id in sorted(lost):
        yield Difference(KEYS, "lost", subject_id)
    due: set[Row] = {
        (i, status, position) for i, (position, status) in streams.erased.items()
    }
    there = set(erased)
    yield from _unlike(ERASED, there - due, due - there, streams.unreadable, streams)


class Stand(NamedTuple):
    """A projection, how far it has come, and its rows of a slice, table by table."""

    projection: Projection
    checkpoint: Position
    stored: Sequence[Sequence[Row]]


def compare(
    stand: Stand, streams: Streams, people: Mapping[SubjectId, Person | None]
) -> Iterator[Difference]:
    """What differs between rows and events, up to the projection's own checkpoint.

    ``people`` are everybody who has said something and every text; None of whom it
    could not be opened.
    """
    due = _Due(stand, streams, people)
    yield from due.differences
    for table, stored, rows in zip(
        stand.projection.tables, stand.stored, due.rows, strict=True
    ):
        found = set(stored)
        if found != rows:
            yield from _unlike(table, found - rows, rows - found, due.unknown, streams)


class _Due:
    """The rows that a projection must have of a slice."""

    def __init__(
        self,
        stand: Stand,
        streams: Streams,
        people: Mapping[SubjectId, Person | None],
    ) -> None:
        self.rows: list[set[Row]] = [set() for _ in stand.projection.tables]
        self.unknown = set(streams.unreadable)
        """Of whom no row is right or wrong."""
        self.differences: list[Difference] = []
        if stand.projection.holds_numbers or stand.projection.holds_texts:
            self.unknown |= {i for i, person in people.items() if person is None}
        for stream_id, whole in streams.people.items():
            erased_at = streams.erased_at(stream_id)
            if erased_at is not None:
                if erased_at > stand.checkpoint:
                    self.unknown.add(stream_id)
            elif stream_id not in self.unknown and whole:
                person = people.get(stream_id) or Person(stream_id, None, whole)
                if events := _until(stand.checkpoint, whole):
                    self._add(person._replace(events=events), stand.projection)

    def _add(self, person: Person, projection: Projection) -> None:
        try:
            made = projection.rows_of(person)
            for rows, more in zip(self.rows, made, strict=True):
                rows.update(more)
        # An event that was altered may lack anything.
        except Exception as error:  # noqa: BLE001
            subject_id = SubjectId(person.subject_id)
            position = person.events[-1].position
            self.unknown.add(subject_id)
            self.differences.append(unreadable(subject_id, position, error))


def _until(
    checkpoint: Position, whole: Sequence[RecordedEvent]
) -> Sequence[RecordedEvent]:
    if whole and whole[-1].position > checkpoint:
        return [recorded for recorded in whole if recorded.position <= checkpoint]
    return whole


def _unlike(
    table: Table,
    there: set[Row],
    due: set[Row],
    unknown: set[SubjectId],
    streams: Streams,
) -> Iterator[Difference]:
    """Rows that are there and not due, and rows that are due and not there, by key."""

    def by_key(rows: set[Row]) -> dict[Row, Row]:
        return {row[: table.key_columns]: row for row in rows if row[0] not in unknown}

    stored_rows, expected_rows = by_key(there), by_key(due)
    for key in sorted(stored_rows.keys() | expected_rows.keys(), key=str):
        stored, expected = stored_rows.get(key), expected_rows.get(key)
        subject_id = SubjectId(cast("UUID", key[0]))
        kind: Kind = "altered"
        if expected is None:
            is_gone = streams.erased_at(subject_id) is not None
            is_erased = is_gone and table is not ERASED
            kind = "erased" if is_erased else "extra"
        elif stored is None:
            kind = "lost"
        yield Difference(
            table.name,
            kind,
            subject_id,
            dict(zip(table.columns[1:], key[1:], strict=False)),
            _shown(table, stored, expected),
            _shown(table, expected, stored),
        )


def _shown(
    table: Table, row: Row | None, other: Row | None
) -> dict[str, object] | None:
    """The columns of ``row`` that differ, without what is personal."""
    if row is None:
        return None
    past_key = list(zip(table.columns, row, strict=True))[table.key_columns :]
    rest = other[table.key_columns :] if other else (object(),) * len(past_key)
    return {
        name: "(not shown)" if name in _HIDDEN else value
        for (name, value), its in zip(past_key, rest, strict=True)
        if value != its
    }
