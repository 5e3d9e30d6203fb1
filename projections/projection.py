"""What a projection is: a table built only from events.

Also where its place is kept. The subtle part is ``advance``: the checkpoint moves by
compare-and-set in the transaction that writes the rows, so a second worker, or one that
was thought dead, rolls back and does no harm.
"""

from collections.abc import (
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Mapping,
    Sequence,
)
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol
from uuid import UUID

import asyncpg

from ledger.domain.events import ConsentChanged
from ledger.domain.ids import (
    THE_LEDGER,
    Answer,
    MessageId,
    PhoneNumber,
    Position,
    SubjectId,
)
from ledger.store.codec import RecordedEvent, StoredRow, decode
from ledger.store.database import Connection, Pool, is_passing, translated
from ledger.store.received import Received
from ledger.store.said import Said
from ledger.store.sealing import SubjectKey
from ledger.store.statements import at_versions, statement
from projections.digests import NO_DIGESTS, Digests

_LOAD = statement("projections", "load_checkpoint")
_ADVANCE = statement("projections", "advance_checkpoint")
_SEEN = statement("projections", "update_seen")
_STOPPED = statement("projections", "update_stopped")

INDEX_SECONDS_MAX: Final = 3600.0
"""Building an index over hundreds of millions of rows takes a while."""


NumbersOf = Callable[
    [Iterable[ConsentChanged]], Awaitable[Mapping[SubjectId, PhoneNumber]]
]
"""Opens whose events these are; who is missing has been erased."""


NO_KEYS: Final[Mapping[UUID, SubjectKey]] = MappingProxyType({})


async def _of_nobody(_: Iterable[ConsentChanged]) -> Mapping[SubjectId, PhoneNumber]:
    return {}


Row = tuple[object, ...]


class Person(NamedTuple):
    """A subject, or a text, and all of its stream up to some position."""

    subject_id: UUID
    """The stream's id."""
    phone_number: PhoneNumber | None
    """None where it is not asked for."""
    events: Sequence[RecordedEvent]
    key: SubjectKey | None = None
    """Of a text, what opens it: the key of the person at the other end."""


class Heard(NamedTuple):
    """A subject that said something and no more, and all of it up to some position."""

    subject_id: SubjectId
    phone_number: PhoneNumber
    said: Sequence[Said]
    rows: Sequence[StoredRow]
    """The same, as it is stored."""

    @property
    def person(self) -> Person:
        """For whom needs events."""
        events = [decode(row) for row in self.rows]
        return Person(self.subject_id, self.phone_number, events)

    @classmethod
    def opened(
        cls,
        subject_id: SubjectId,
        said: Sequence[Said],
        rows: Sequence[StoredRow],
        key: SubjectKey,
    ) -> "Heard":
        """By the number in what was said first."""
        _, version, _, _, _, sealed = said[0]
        number = key.open_number(sealed, subject_id, version)
        return cls(subject_id, number, said, rows)


class ReceivedText(NamedTuple):
    """A text that arrived, of which nothing more is told up to some position."""

    message_id: MessageId
    key: SubjectKey
    """What opens it: of who has sent it."""
    received: Received
    row: StoredRow
    """The same, as it is stored."""

    @property
    def person(self) -> Person:
        """For whom needs events."""
        return Person(self.message_id, None, [decode(self.row)], self.key)


def people_of(heard: Iterable[Heard], texts: Iterable[ReceivedText]) -> list[Person]:
    """All of them, for who needs events."""
    return [*(one.person for one in heard), *(one.person for one in texts)]


@dataclass(frozen=True)
class Batch:
    """Consecutive events, and what those who write rows need to know of them."""

    others: Sequence[RecordedEvent]
    """In the ledger's order; all events but of those who are heard, and ``texts``."""
    begun: Mapping[SubjectId, PhoneNumber]
    """The subjects that begin here, and their numbers; without those whose key has been
    destroyed since, for whom no row may be written, and without those who are heard.
    For projections that hold numbers.
    """
    erased: frozenset[SubjectId]
    """The subjects that end here."""
    digests: Digests = NO_DIGESTS
    """Of the events as they are stored, for whoever moves a checkpoint over them."""
    heard: Sequence[Heard] = ()
    """Others that begin here, in the order of their ids: there are no rows of them."""
    texts: Sequence[ReceivedText] = ()
    """Texts that begin here and of which nothing more is here, as ``heard``. For
    projections that hold texts."""
    numbers_of: NumbersOf = _of_nobody
    """For who has no row and does not begin here: erased since, or, seldom, under a
    legal hold before they said anything, so that their stream begins with that."""
    keys: Mapping[UUID, SubjectKey] = field(default_factory=lambda: NO_KEYS)
    """Of the people that texts here are to or from, those whose key has not been
    destroyed since. For projections that hold texts."""

    @cached_property
    def positions(self) -> Sequence[Position]:
        """Those of all events, in order."""
        found = [position for position, _ in self.others]
        found += [position for one in self.heard for position, *_ in one.said]
        found += [one.received[0] for one in self.texts]
        return sorted(found)

    def decoded(self) -> "Batch":
        """The same with all in ``others``, for a projection that only knows events."""
        if not (self.heard or self.texts):
            return self
        people = people_of(self.heard, self.texts)
        events = [event for person in people for event in person.events]
        numbers = {heard.subject_id: heard.phone_number for heard in self.heard}
        return replace(
            self,
            others=sorted([*self.others, *events]),
            begun={**self.begun, **numbers},
            heard=(),
            texts=(),
        )


class Table(NamedTuple):
    """A table of a projection, as it is compared with the events."""

    name: str
    columns: tuple[str, ...]
    """Those of the primary key first, and of these the subject's id."""
    key_columns: int
    """How many they are that make the key."""
    read_slice: str
    """Reads the rows of the subjects from $1 to $2, with these columns."""

    def at(self, name: str, version: int) -> "Table":
        """The same table of another version of its projection."""
        versions = ((name, version),)
        return self._replace(
            name=at_versions(self.name, versions),
            read_slice=at_versions(self.read_slice, versions),
        )


class Change(NamedTuple):
    """Numbers of which another version says something else."""

    was: Answer
    becomes: Answer
    numbers: int
    examples: list[SubjectId]
    digest: str
    """Of which numbers they are."""

    @property
    def is_risk(self) -> bool:
        """Whether somebody would be texted who was not."""
        return self.becomes == "in"


class Projection(Protocol):
    """Turns events into rows. Its tables are named by ``name`` and ``version``."""

    name: str
    shape: int
    """Which columns its tables have, of those that releases have known."""
    version: int
    holds_numbers: bool
    """Whether its rows say whose they are: then it is told, in ``Batch.begun``."""
    holds_texts: bool
    """Whether it has rows of texts: then it can open them, with ``Batch.keys``."""
    says_consent: bool
    """Whether somebody may be texted by what it says: then a version is compared."""
    tables: tuple[Table, ...]
    """Every table that it fills."""

    async def create(self, connection: Connection) -> None:
        """Make the empty tables; called once, in a transaction.

        And the function ``<name>_v<version>_erase(subject uuid)``, which deletes a
        subject's rows: the ledger calls it in the transaction that erases the subject.
        """
        ...

    async def drop(self, connection: Connection) -> None:
        """Drop the tables and the function; both may be gone already."""
        ...

    async def changes(
        self,
        connection: Connection,
        serving: int,
        examples: int,
        subjects: Collection[SubjectId] | None = None,
        *,
        until: Position | None = None,
    ) -> list[Change]:
        """What this version says otherwise than the version ``serving``.

        Of all subjects, or of some; by kind, with so many examples of each. With
        ``until``, of all that have no event after it.
        """
        ...

    async def create_indexes(self, connection: Connection) -> None:
        """Make the indexes that only readers need, where they are not there."""
        ...

    async def drop_indexes(self, connection: Connection) -> None:
        """Drop those indexes, for as long as very many rows are written."""
        ...

    async def apply(self, connection: Connection, batch: Batch) -> None:
        """Write the rows for ``batch``, whose events come exactly once.

        Called in the transaction that moves the checkpoint; whatever is raised rolls
        both back. A batch may be of before an erasure that has been done already: what
        is written for its subject is deleted when the erasure itself comes. A shape
        that does not know who is heard takes ``batch.decoded()``.
        """
        ...

    def rows_of(self, person: Person) -> Iterable[Sequence[Row]]:
        """What each of ``tables`` holds of somebody who was not erased.

        A pure fold of the whole stream by the domain's rules, which shares nothing with
        ``apply``: so each can be held against the other.
        """
        ...

    def copied(
        self, heard: Iterable[Heard], texts: Iterable[ReceivedText]
    ) -> Sequence[bytes] | None:
        """``rows_of`` many, each of ``tables``' as ``copying.copy_rows`` takes them.

        Nearly everybody and nearly every text is among these. None where ``rows_of`` is
        to make them: it takes longer, and is all that a shape must have.
        """
        ...


class Overtaken(Exception):
    """Another worker moved the checkpoint first."""


class Dropped(Exception):
    """The version is not kept up to date any more, and its tables may be gone."""


async def read_nothing(connection: Connection, tables: Iterable[Table]) -> None:
    """See that each table is there, with every column that a row of it has.

    Raises:
        asyncpg.PostgresError: one is not.
    """
    for table in tables:
        await connection.fetch(table.read_slice, THE_LEDGER, THE_LEDGER)


async def why_unreadable(connection: Connection, table: Table) -> str | None:
    """Why ``read_nothing`` fails, in a word; None where it does not."""
    try:
        await read_nothing(connection, [table])
    except asyncpg.PostgresError as error:
        if is_passing(error):
            raise
        # Not what it says: that may show a row.
        return type(error).__name__
    return None


async def load_checkpoint(pool: Pool, projection: Projection) -> Position:
    """The position that ``projection`` has reached.

    Raises:
        Dropped: there is no such version any more.
    """
    with translated():
        found = await pool.fetchval(_LOAD, projection.name, projection.version)
    if found is None:
        raise Dropped(f"{projection.name} version {projection.version}")
    return Position(found)


async def advance(
    connection: Connection, projections: Sequence[Projection], batch: Batch
) -> None:
    """Move the checkpoints over ``batch`` and write its rows, in one transaction.

    And its digests, for those whose checkpoint moves: in the statement that moves it.

    Raises:
        Overtaken: another worker has done some of it; nothing was written.
    """
    first, last = batch.positions[0], batch.positions[-1]
    async with connection.transaction():
        # First the checkpoints: their row locks make a second worker wait here, where
        # it has written nothing yet, instead of in the middle of the rows.
        await move(connection, projections, Position(first - 1), last, batch.digests)
        for projection in projections:
            await projection.apply(connection, batch)


async def move(
    connection: Connection,
    projections: Sequence[Projection],
    before: Position,
    after: Position,
    digests: Digests,
) -> None:
    """Move checkpoints, in the caller's transaction, and add to what was applied.

    Raises:
        Overtaken: one is not at ``before``; the caller rolls back.
    """
    moved = await connection.fetchval(
        _ADVANCE,
        [projection.name for projection in projections],
        [projection.version for projection in projections],
        before,
        after,
        *digests,
    )
    if moved < len(projections):
        raise Overtaken


async def say_running(pool: Pool, projection: Projection) -> None:
    """Let readers know that the worker lives."""
    with translated():
        await pool.execute(_SEEN, projection.name, projection.version)


async def say_stopped(
    pool: Pool, projection: Projection, reason: str, *, before: int | None = None
) -> None:
    """Let readers know why the projection does not go on.

    Unless it is past ``before`` already: a worker of a newer release has applied there
    what this one cannot, and theirs is the projection that readers read.
    """
    name, version = projection.name, projection.version
    with translated():
        await pool.execute(_STOPPED, name, version, reason, before)
