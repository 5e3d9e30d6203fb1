"""What each number says now, per sender and overall.

The rules are the domain's own functions, so this table cannot disagree with a fold of
the events. Never decides anything itself. The subtle part: a row holds the fact that
*decides* for its sender, its own or one for every sender; since newest wins, folding
onto deciding facts gives the same as folding onto each sender's own.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ledger.domain.consent import Fact, Facts, deciding, overall_deciding, with_fact
from ledger.domain.ids import PhoneNumber, Position, Version
from ledger.store.codec import RecordedEvent
from ledger.store.database import Connection
from ledger.store.statements import statement

_TABLE = statement("projections.phone_numbers", "table")
_READ_SENDERS = statement("projections.phone_numbers", "read_senders")
_UPSERT_SENDERS = statement("projections.phone_numbers", "upsert_senders")
_UPSERT_NUMBERS = statement("projections.phone_numbers", "upsert_numbers")


@dataclass(slots=True)
class _Number:
    """A number while a batch is folded onto it."""

    facts: Facts
    positions: dict[Version, Position]
    newest: RecordedEvent | None = None

    def fold(self, recorded: RecordedEvent) -> None:
        """One more event of this number."""
        event = recorded.event
        fact = Fact(event.occurred_at, event.version, event.status)
        self.facts = with_fact(self.facts, event.sender, fact)
        self.positions[event.version] = recorded.position
        self.newest = recorded

    def settle(self) -> None:
        """Let each sender's fact be the one that decides for it."""
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

    async def apply(
        self, connection: Connection, events: Sequence[RecordedEvent]
    ) -> None:
        """Fold a batch onto the rows of the numbers that it touches."""
        touched = {recorded.event.phone_number for recorded in events}
        numbers = await _load(connection, touched)
        before = {phone: number.facts for phone, number in numbers.items()}
        for recorded in events:
            numbers[recorded.event.phone_number].fold(recorded)
        for number in numbers.values():
            number.settle()
        await connection.execute(_UPSERT_SENDERS, *_sender_columns(numbers, before))
        await connection.execute(_UPSERT_NUMBERS, *_number_columns(numbers))


async def _load(connection: Connection, touched: set[PhoneNumber]) -> _Numbers:
    numbers = {phone: _Number({}, {}) for phone in touched}
    for row in await connection.fetch(_READ_SENDERS, list(touched)):
        phone, sender, status, since, position, version = row
        number = numbers[phone]
        number.facts = {**number.facts, sender: Fact(since, version, status)}
        number.positions[version] = position
    return numbers


def _sender_columns(
    numbers: _Numbers, before: Mapping[PhoneNumber, Facts]
) -> Iterable[list[object]]:
    rows = [
        (
            phone,
            sender,
            fact.status,
            fact.occurred_at,
            number.positions[fact.version],
            fact.version,
        )
        for phone, number in sorted(numbers.items())
        for sender, fact in number.facts.items()
        if before[phone].get(sender) != fact
    ]
    return _columns(rows, 6)


def _number_columns(numbers: _Numbers) -> Iterable[list[object]]:
    rows = []
    for phone, number in sorted(numbers.items()):
        decisive, newest = overall_deciding(number.facts), number.newest
        if decisive is None or newest is None:
            continue
        position, event = newest
        rows.append(
            (
                phone,
                decisive.status,
                decisive.occurred_at,
                position,
                event.version,
                event.recorded_at,
            )
        )
    return _columns(rows, 6)


def _columns(rows: Sequence[Sequence[object]], width: int) -> list[list[object]]:
    return [list(column) for column in zip(*rows, strict=True)] or [[]] * width
