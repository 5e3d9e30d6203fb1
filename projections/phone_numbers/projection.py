"""What each number says now, per sender and overall.

The rules are the domain's own functions, so this table cannot disagree with a fold of
the events. Never decides anything itself. The subtle part: a row holds the fact that
*decides* for its sender, its own or one for every sender; since newest wins, folding
onto deciding facts gives the same as folding onto each sender's own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from ledger.domain.consent import Fact, Facts, deciding, overall_deciding, with_fact
from ledger.domain.ids import EVERY_SENDER, PhoneNumber, Position, Version
from ledger.store.codec import RecordedEvent
from ledger.store.database import Connection
from ledger.store.statements import statement

_TABLE = statement("projections.phone_numbers", "table")
_CREATE_INDEXES = statement("projections.phone_numbers", "create_indexes")
_DROP_INDEXES = statement("projections.phone_numbers", "drop_indexes")
_READ_SENDERS = statement("projections.phone_numbers", "read_senders")
_UPSERT_SENDERS = statement("projections.phone_numbers", "upsert_senders")
_UPSERT_NUMBERS = statement("projections.phone_numbers", "upsert_numbers")

_COLUMNS = 6
"""Of each of the two tables."""


INDEX_SECONDS_MAX = 3600.0
"""Building an index over hundreds of millions of numbers takes a while."""


@dataclass(slots=True)
class _Number:
    """A number while a batch is folded onto it."""

    newest: RecordedEvent
    """Of the batch: what is there when all of it is folded."""
    stored: Facts = field(default_factory=dict)
    facts: Facts = field(default_factory=dict)
    positions: dict[Version, Position] = field(default_factory=dict)

    def fold(self, recorded: RecordedEvent) -> None:
        """One more event of this number."""
        position, event = recorded
        version = event.version
        fact = Fact(event.occurred_at, version, event.status)
        self.facts = with_fact(self.facts, event.sender, fact)
        self.positions[version] = position

    def settle(self) -> None:
        """Let each sender's fact be the one that decides for it, as its own does."""
        if EVERY_SENDER in self.facts:
            settled = {s: fact for s in self.facts if (fact := deciding(self.facts, s))}
            self.facts = settled


_Numbers = dict[PhoneNumber, _Number]


class PhoneNumbers:
    """See ``projections.projection.Projection``."""

    name = "phone_numbers"
    version = 1

    async def create(self, connection: Connection) -> None:
        """Make the two tables."""
        await connection.execute(_TABLE)
        await self.create_indexes(connection)

    async def create_indexes(self, connection: Connection) -> None:
        """Make the indexes of lists: two thirds of what a row costs to write."""
        await connection.execute(_CREATE_INDEXES, timeout=INDEX_SECONDS_MAX)

    async def drop_indexes(self, connection: Connection) -> None:
        """Leave only the keys, by which rows are written and a number is found."""
        await connection.execute(_DROP_INDEXES)

    async def apply(
        self, connection: Connection, events: Sequence[RecordedEvent]
    ) -> None:
        """Fold a batch onto the rows of the numbers that it touches."""
        numbers = await _load(connection, events)
        for recorded in events:
            numbers[recorded.event.phone_number].fold(recorded)
        for number in numbers.values():
            number.settle()
        await connection.execute(_UPSERT_SENDERS, *_columns(_sender_rows(numbers)))
        await connection.execute(_UPSERT_NUMBERS, *_columns(_number_rows(numbers)))


async def _load(connection: Connection, events: Sequence[RecordedEvent]) -> _Numbers:
    """The numbers of a batch, in the order of the tables' keys: so they write fast."""
    newest = {recorded.event.phone_number: recorded for recorded in events}
    numbers = {phone: _Number(newest[phone]) for phone in sorted(newest)}
    for row in await connection.fetch(_READ_SENDERS, list(numbers)):
        phone, sender, status, since, position, version = row
        number = numbers[phone]
        number.stored = {**number.stored, sender: Fact(since, version, status)}
        number.facts = number.stored
        number.positions[version] = position
    return numbers


def _sender_rows(numbers: _Numbers) -> list[tuple[object, ...]]:
    """The facts that are not those that were stored, which no rule makes anew."""
    return [
        (
            phone,
            sender,
            fact.status,
            fact.occurred_at,
            number.positions[fact.version],
            fact.version,
        )
        for phone, number in numbers.items()
        for sender, fact in number.facts.items()
        if fact is not number.stored.get(sender)
    ]


def _number_rows(numbers: _Numbers) -> list[tuple[object, ...]]:
    return [
        (
            phone,
            decisive.status,
            decisive.occurred_at,
            number.newest.position,
            number.newest.event.version,
            number.newest.event.recorded_at,
        )
        for phone, number in numbers.items()
        if (decisive := overall_deciding(number.facts))
    ]


def _columns(rows: Sequence[Sequence[object]]) -> list[list[object]]:
    return [list(column) for column in zip(*rows, strict=True)] or [[]] * _COLUMNS
