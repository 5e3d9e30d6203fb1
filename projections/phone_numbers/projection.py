"""What each number says now, per sender and overall.

The rules are the domain's own functions, so this table cannot disagree with a fold of
the events. Never decides anything itself. The subtle part: a row holds the fact that
*decides* for its sender, its own or one for every sender; since newest wins, folding
onto deciding facts gives the same as folding onto each sender's own. What has lapsed
keeps the time at which it was said, and the lapse has a row of its own.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ledger.domain.consent import (
    Fact,
    Facts,
    fact_of,
    overall_deciding,
    settled,
    with_fact,
)
from ledger.domain.events import ConsentChanged, ConsentLapsed, MessageEvent
from ledger.domain.ids import EVERY_SENDER, PhoneNumber, Position, SubjectId, Version
from ledger.store.codec import RecordedEvent
from ledger.store.database import Connection
from ledger.store.statements import at_versions, between, statement
from projections.copying import copy_rows
from projections.phone_numbers import fold
from projections.projection import (
    INDEX_SECONDS_MAX,
    Batch,
    Change,
    Heard,
    Person,
    ReceivedText,
    Row,
    Table,
)

_TABLE = statement("projections.phone_numbers", "table")
_CREATE_INDEXES = statement("projections.phone_numbers", "create_indexes")
_DROP_INDEXES = statement("projections.phone_numbers", "drop_indexes")
_READ_SENDERS = statement("projections.phone_numbers", "read_senders")
_UPSERT_SENDERS = statement("projections.phone_numbers", "upsert_senders")
_UPSERT_NUMBERS = statement("projections.phone_numbers", "upsert_numbers")
_DROP = statement("projections.phone_numbers", "drop_tables")
_DROP_FUNCTION = statement("projections.phone_numbers", "drop_function")
_COMPARE = statement("projections.phone_numbers", "compare_versions")
_COMPARE_SUBJECTS = statement("projections.phone_numbers", "compare_subjects")
_ERASE = statement("projections.phone_numbers", "erase_subjects")


@dataclass(slots=True)
class _Subject:
    """A subject while a batch is folded onto it."""

    phone_number: PhoneNumber
    stored: Facts = field(default_factory=dict)
    facts: Facts = field(default_factory=dict)
    positions: dict[Version, Position] = field(default_factory=dict)

    def fold(self, stream: Sequence[RecordedEvent]) -> None:
        """The events that follow, of which only consents and lapses are facts.

        At the end each sender's fact is the one that decides for it, as its own does.
        """
        for position, event in stream:
            if isinstance(event, ConsentChanged | ConsentLapsed):
                self.facts = with_fact(self.facts, *fact_of(event))
                self.positions[event.version] = position
        if EVERY_SENDER in self.facts:
            self.facts = settled(self.facts)


_Streams = Mapping[SubjectId, Sequence[RecordedEvent]]


class PhoneNumbers:
    """See ``projections.projection.Projection``."""

    name = "phone_numbers"
    shape = 1
    holds_numbers = True
    holds_texts = False
    says_consent = True
    filled: tuple[Table, ...] = (fold.NUMBERS, fold.SENDERS)
    """The tables of version 1."""

    def __init__(self, version: int = 1) -> None:
        self.version = version
        self.tables = tuple(table.at(self.name, version) for table in self.filled)

    def _at(self, text: str) -> str:
        return at_versions(text, ((self.name, self.version),))

    async def create(self, connection: Connection) -> None:
        """Make the two tables and what erases from them."""
        await connection.execute(self._at(_TABLE))

    async def drop(self, connection: Connection) -> None:
        """Drop the tables, and what erases from them."""
        await connection.execute(self._at(_DROP))
        await connection.execute(self._at(_DROP_FUNCTION))

    async def changes(
        self,
        connection: Connection,
        serving: int,
        examples: int,
        subjects: Collection[SubjectId] | None = None,
        *,
        until: Position | None = None,
    ) -> list[Change]:
        """What this version says otherwise than the one that serves."""
        if subjects is None:
            text = between(_COMPARE, serving, self.version)
            rows = await connection.fetch(
                text, examples, until, timeout=INDEX_SECONDS_MAX
            )
        else:
            text = between(_COMPARE_SUBJECTS, serving, self.version)
            rows = await connection.fetch(text, examples, list(subjects))
        return [Change(*row) for row in rows]

    async def create_indexes(self, connection: Connection) -> None:
        """Make the indexes of lists: two thirds of what a row costs to write."""
        await connection.execute(self._at(_CREATE_INDEXES), timeout=INDEX_SECONDS_MAX)

    async def drop_indexes(self, connection: Connection) -> None:
        """Leave only the keys, by which rows are written and a number is found."""
        await connection.execute(self._at(_DROP_INDEXES))

    async def apply(self, connection: Connection, batch: Batch) -> None:
        """Fold a batch onto the rows of the subjects that it touches."""
        copied = self.copied(batch.heard, batch.texts)
        if copied is None:
            copied, batch = (), batch.decoded()
        for table, rows in zip(self.tables, copied, strict=False):
            await copy_rows(connection, table.name, table.columns, rows)
        if batch.others:
            await self._fold(connection, batch)
        if batch.erased:
            await connection.execute(self._at(_ERASE), list(batch.erased))

    async def _fold(self, connection: Connection, batch: Batch) -> None:
        """Of those who are not heard, or were before."""
        streams = _streams(batch)
        subjects = await self._load(connection, batch, streams)
        for subject_id, subject in subjects.items():
            subject.fold(streams[subject_id])
        if rows := _sender_rows(subjects):
            await connection.execute(
                self._at(_UPSERT_SENDERS), *zip(*rows, strict=True)
            )
        if rows := _number_rows(subjects, streams):
            await connection.execute(
                self._at(_UPSERT_NUMBERS), *zip(*rows, strict=True)
            )

    async def _load(
        self, connection: Connection, batch: Batch, streams: _Streams
    ) -> dict[SubjectId, _Subject]:
        """The subjects as they are stored, and those that begin here.

        Who neither has rows nor begins here has been erased, further on in the ledger,
        or says here for the first time what is no hold.
        """
        begun = {i: _Subject(number) for i, number in batch.begun.items()}
        known: dict[SubjectId, _Subject] = {}
        touched = [i for i in streams if i not in begun]
        for row in await connection.fetch(self._at(_READ_SENDERS), touched):
            subject_id, phone_number, sender, status, since, position, version = row
            subject = known.get(subject_id)
            if subject is None:
                subject = known[subject_id] = _Subject(phone_number)
            subject.stored = {**subject.stored, sender: Fact(since, version, status)}
            subject.facts = subject.stored
            subject.positions[version] = position
        if late := [e for i in touched if i not in known for e in _said(streams[i])]:
            numbers = await batch.numbers_of(late)
            begun |= {i: _Subject(number) for i, number in numbers.items()}
        known |= begun
        return {i: known[i] for i in streams if i in known}

    def rows_of(self, person: Person) -> Iterable[Sequence[Row]]:
        """What somebody says now: ``fold.rows_of``."""
        return fold.rows_of(person)

    def copied(
        self,
        heard: Iterable[Heard],
        texts: Iterable[ReceivedText],  # noqa: ARG002
    ) -> Sequence[bytes] | None:
        """What they say now: ``fold.copied``, which knows this shape alone."""
        return fold.copied(heard) if self.shape == PhoneNumbers.shape else None


def _said(stream: Sequence[RecordedEvent]) -> Iterable[ConsentChanged]:
    return (event for _, event in stream if isinstance(event, ConsentChanged))


def _streams(batch: Batch) -> _Streams:
    """The batch by subject, in the order of the tables' keys: so they write fast."""
    streams: dict[SubjectId, list[RecordedEvent]] = {}
    for recorded in batch.others:
        if not isinstance(recorded.event, MessageEvent):
            streams.setdefault(recorded.event.subject_id, []).append(recorded)
    return {i: streams[i] for i in sorted(streams) if i not in batch.erased}


def _sender_rows(subjects: Mapping[SubjectId, _Subject]) -> list[tuple[object, ...]]:
    """The facts that are not those that were stored, which no rule makes anew."""
    return [
        (
            subject_id,
            subject.phone_number,
            sender,
            fact.status,
            fact.occurred_at,
            subject.positions[fact.version],
            fact.version,
        )
        for subject_id, subject in subjects.items()
        for sender, fact in subject.facts.items()
        if fact is not subject.stored.get(sender)
    ]


def _number_rows(
    subjects: Mapping[SubjectId, _Subject], streams: _Streams
) -> list[tuple[object, ...]]:
    return [
        (
            subject_id,
            subject.phone_number,
            decisive.status,
            decisive.occurred_at,
            position,
            newest.version,
            newest.recorded_at,
        )
        for subject_id, subject in subjects.items()
        if (decisive := overall_deciding(subject.facts))
        for position, newest in streams[subject_id][-1:]
    ]
