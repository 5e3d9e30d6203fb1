"""Laws of the append: what becomes of any batch, against a model that is one loop.

Batches here are worse than any that the command handler makes: versions that are taken
or left out, keys that are known or repeated, times to come, several of one subject.
"""

import itertools
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, NamedTuple
from uuid import uuid4

from builders import entry
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ledger.domain.consent import Subject
from ledger.domain.ids import Position, SubjectId, Version
from ledger.store.event_store import (
    Appended,
    Conflict,
    Duplicate,
    FromTheFuture,
    Outcome,
)
from ledger.store.postgres import PostgresEventStore

TO_COME: Final = datetime(9999, 1, 1, tzinfo=UTC)
_ledgers = itertools.count(1)


class Asked(NamedTuple):
    """An entry of a batch; ``later`` is how far its version is from the next one."""

    subject: int
    key: int
    later: int = 0
    is_to_come: bool = False


@dataclass
class Model:
    """What the ledger holds, and what it says to a batch."""

    position: int
    keys: dict[int, int] = field(default_factory=dict)
    heads: dict[int, int] = field(default_factory=dict)

    def append(self, batch: list[Asked]) -> list[tuple[type[Outcome], int | None]]:
        """One entry after the other; nothing fits behind what was not recorded."""
        told: list[tuple[type[Outcome], int | None]] = []
        stuck = set()
        for each, version in zip(batch, self.versions_of(batch), strict=True):
            head = self.heads.get(each.subject, 0)
            if each.key in self.keys:
                told.append((Duplicate, self.keys[each.key]))
            elif each.is_to_come:
                told.append((FromTheFuture, None))
            elif each.subject in stuck or version != head + 1:
                told.append((Conflict, None))
            else:
                self.position += 1
                self.keys[each.key] = self.position
                self.heads[each.subject] = version
                told.append((Appended, self.position))
                continue
            stuck.add(each.subject)
        return told

    def versions_of(self, batch: list[Asked]) -> list[int]:
        """As a handler numbers them, but for those that are off."""
        heads, versions = dict(self.heads), []
        for each in batch:
            heads[each.subject] = heads.get(each.subject, 0) + 1
            versions.append(max(1, heads[each.subject] + each.later))
        return versions


asked = st.builds(
    Asked,
    subject=st.integers(0, 2),
    key=st.integers(0, 12),
    later=st.sampled_from((0, 0, 0, 0, -1, 1, 2)),
    is_to_come=st.sampled_from((False, False, False, False, True)),
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(st.lists(asked, max_size=6), max_size=4))
@example(batches=[[Asked(0, 1), Asked(0, 1), Asked(0, 2)]])
@example(batches=[[Asked(0, 1)], [Asked(0, 2), Asked(0, 1), Asked(0, 3)]])
@example(batches=[[Asked(0, 1)], [Asked(0, 1), Asked(0, 2, later=-1)]])
@example(batches=[[Asked(0, 1, is_to_come=True), Asked(0, 2), Asked(0, 3, later=-1)]])
@example(batches=[[Asked(0, 1, later=1), Asked(0, 2, later=-1)]])
async def test_any_batch_is_told_what_the_model_says(
    store: PostgresEventStore, batches: list[list[Asked]]
) -> None:
    """And the ledger holds that: no hole in it, none in a stream, each key once."""
    prefix = f"ledger {next(_ledgers)} key"
    subjects = [SubjectId(uuid4()) for _ in range(3)]
    begin = await store.last_position()
    model = Model(begin)
    for batch in batches:
        entries = [
            entry(
                Subject(subjects[each.subject], Version(version - 1), {}),
                key=f"{prefix} {each.key}",
                occurred_at=TO_COME if each.is_to_come else None,
            )
            for each, version in zip(batch, model.versions_of(batch), strict=True)
        ]
        outcomes = await store.append(entries)
        told = [(type(each), getattr(each, "position", None)) for each in outcomes]
        assert told == model.append(batch)
    assert await store.last_position() == model.position
    # Reading it raises where there is a hole.
    recorded = await store.read_after(Position(begin), 1_000)
    assert len(recorded) == len(model.keys)
    for n, subject in enumerate(subjects):
        stream = [e.version for _, e in recorded if e.subject_id == subject]
        assert stream == list(range(1, model.heads.get(n, 0) + 1))
