"""What a check of the ledger has looked at, and what it has found. Pure."""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from ledger.domain.ids import Position
from projections.comparison import Difference, Kind

EXAMPLES_MAX: Final = 20


class Part(NamedTuple):
    """Positions, both ends included."""

    first: int
    last: int

    @property
    def events(self) -> int:
        """How many there are."""
        return max(self.last - self.first + 1, 0)


@dataclass(slots=True)
class Report:
    """What was compared, and what differs."""

    position: Position
    """Where the ledger was at the beginning: up to here nothing may be missing."""
    part: Part
    """What of it is looked at."""
    examples_max: int = EXAMPLES_MAX
    events: int = 0
    subjects: int = 0
    erased: int = 0
    rows: Counter[str] = field(default_factory=Counter)
    """By table."""
    digests: Counter[str] = field(default_factory=Counter)
    """How many were compared, by version of a projection."""
    checkpoints: dict[str, Position] = field(default_factory=dict)
    """Of each projection: the least that it was compared at."""
    left_out: Collection[str] = ()
    """Versions whose columns this release does not know."""
    differences: Counter[tuple[str, Kind]] = field(default_factory=Counter)
    """How many, by table and kind."""
    examples: list[Difference] = field(default_factory=list)

    _unreadable: set[object] = field(default_factory=set)

    def add(self, found: Iterable[Difference]) -> None:
        """Count differences, and keep the first few.

        An event that cannot be read is met by whoever looks at digests, and by each
        projection that folds it; it is one.
        """
        for difference in found:
            table, kind, subject_id, where, *_ = difference
            if kind == "unreadable" and "position" in where:
                event = (table, subject_id, where["position"])
                if event in self._unreadable:
                    continue
                self._unreadable.add(event)
            self.differences[difference.table, difference.kind] += 1
            if len(self.examples) < self.examples_max:
                self.examples.append(difference)

    def compared(self, name: str, checkpoint: Position) -> None:
        """Note how far a projection was when it was compared."""
        self.checkpoints[name] = min(self.checkpoints.get(name, checkpoint), checkpoint)
